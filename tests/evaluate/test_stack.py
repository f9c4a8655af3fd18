"""A member stacked with TF-IDF: better where both know a part, and still a log-odds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import schemas, tables
from tasks.data.outcomes import read_outcome
from tasks.data.predictions import read_predictions, write_predictions
from tasks.errors import EvaluationError
from tasks.evaluate.blend import Blend, Spread, comparable, fit_blend
from tasks.evaluate.stack import write_stack
from tasks.evaluate.steps import stack_member
from tasks.measures.logistic import fit_line, fit_offset, of_label, sigmoid
from tasks.measures.ranking import auroc_by_label, class_scores, macro_auroc
from tasks.variants import Variant, comparisons, read_variants, write_variant
from tests.digests import digest_of
from tests.evaluate.made_up import VARIANTS
from tests.finetune.conftest import CLASSES, LABELS, split_of, write_outcome

FUSED, UNFUSED, TFIDF, ABLATED = VARIANTS
HADM_IDS = np.arange(9000, 19000)
SPLIT = {name: np.array([split_of(h) == name for h in HADM_IDS]) for name in ("validation", "test")}


class World:
    """Two outcomes of made-up admissions, and what a member and TF-IDF say of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        draw = np.random.default_rng(5)
        self.halves = draw.normal(size=(2, len(HADM_IDS), 4))
        self.offset = np.array([-1.0, -2.0, -3.0, -4.0])
        cases = draw.random(self.halves.shape[1:]) < sigmoid(self.halves.sum(0) + self.offset)
        words = {
            int(h): {
                word for word, case in zip(("heart", "stone"), row[[0, 1]], strict=True) if case
            }
            for h, row in zip(HADM_IDS, cases, strict=True)
        }
        self.outcomes = {name: folder / name for name in ("diagnoses", "triage")}
        write_outcome(self.outcomes["diagnoses"], LABELS, words)
        write_outcome(self.outcomes["triage"], CLASSES, words)
        # diagnoses: heart and stone of each of two code systems; classes: heart, stone, neither
        self.columns = {"diagnoses": [0, 1, 0, 1], "triage": [0, 1]}

    def logits(self, half: int, outcome: str) -> np.ndarray:
        """What one half of the signal says, at its own scale."""
        columns = self.columns[outcome]
        logits = 0.8 * self.halves[half][:, columns] + self.offset[columns]
        return logits if outcome == "diagnoses" else np.c_[logits, np.zeros(len(logits))]

    def write(self, variant: Variant, **logits: np.ndarray) -> Path:
        """An artifact of predictions."""
        artifact = self.folder / f"predictions-{variant.name}"
        write_variant(artifact / variant.name, variant)
        for outcome, values in logits.items():
            for split, rows in SPLIT.items():
                path = artifact / variant.name / outcome / f"{split}.parquet"
                write_predictions(path, HADM_IDS[rows], values[rows].astype(np.float32))
        return artifact

    def truth(self, outcome: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Which labels the split's admissions have, and which are known."""
        table = tables.read(self.outcomes[outcome] / "outcomes", schemas.OUTCOMES).to_pylist()
        labels = tables.read(self.outcomes[outcome] / "labels", schemas.LABELS).to_pylist()
        rows = [row for row, keep in zip(table, SPLIT[split], strict=True) if keep]
        has = np.array([[each["index"] in row["labels"] for each in labels] for row in rows])
        known = [[each["code_system"] == row["code_system"] for each in labels] for row in rows]
        return has, np.array(known)

    def auroc(self, artifact: Path, variant: str, outcome: str) -> float:
        """Macro AUROC on test."""
        _, logits = read_predictions(artifact / variant / outcome / "test.parquet")
        scores = class_scores(logits) if outcome == "triage" else logits
        return macro_auroc(scores, *self.truth(outcome, "test"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="module")
def halves(world: World) -> tuple[Path, Path]:
    """A member and TF-IDF that know a half of the signal each, at different scales."""
    outcomes = ("diagnoses", "triage")
    member = {name: 5.0 * world.logits(0, name) for name in outcomes}  # far too sure of itself
    baseline = {name: 0.3 * world.logits(1, name) for name in outcomes}  # not sure enough
    return world.write(FUSED, **member), world.write(TFIDF, **baseline)


@pytest.fixture(scope="module")
def stacked(world: World, halves: tuple[Path, Path]) -> Path:
    out = world.folder / "stack"
    counts = write_stack(out, *halves, world.outcomes)
    assert counts["stack"] == "fused+tfidf"
    assert counts["diagnoses_weight"] == pytest.approx(0.5, abs=0.11)
    return out


@pytest.mark.parametrize("outcome", ["diagnoses", "triage"])
def test_it_beats_both_where_each_knows_half_of_the_signal(
    world: World, halves: tuple[Path, Path], stacked: Path, outcome: str
) -> None:
    together = world.auroc(stacked, "fused+tfidf", outcome)
    assert together > world.auroc(halves[0], "fused", outcome) + 0.03
    assert together > world.auroc(halves[1], "tfidf", outcome) + 0.03


def test_its_logits_are_the_log_odds_of_each_label(world: World, stacked: Path) -> None:
    """Of rare labels and frequent ones, though none has a slope or an intercept of its own."""
    _, logits = read_predictions(stacked / "fused+tfidf" / "diagnoses" / "test.parquet")
    cases, known = world.truth("diagnoses", "test")
    for label in range(cases.shape[1]):
        rows = known[:, label]
        cells = of_label(logits[rows, label].astype(float), cases[rows, label])
        assert fit_line(cells).slope[0] == pytest.approx(1.0, abs=0.25)
        assert fit_offset(cells)[0] == pytest.approx(0.0, abs=0.25)


def test_its_classes_have_the_softmax_as_their_chances(world: World, stacked: Path) -> None:
    _, logits = read_predictions(stacked / "fused+tfidf" / "triage" / "test.parquet")
    cases, _ = world.truth("triage", "test")
    chances = sigmoid(class_scores(logits))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    np.testing.assert_allclose(chances.mean(axis=0), cases.mean(axis=0), atol=0.05)
    loss = -np.log(chances[cases]).mean()
    shares = cases.mean(axis=0)
    assert loss < -(shares * np.log(shares)).sum() - 0.05


@pytest.mark.parametrize("outcome", ["diagnoses", "triage"])
def test_a_baseline_that_knows_nothing_gets_no_weight(world: World, outcome: str) -> None:
    """And the member's ranking stays as it is."""
    draw = np.random.default_rng(6)
    whole = world.logits(0, outcome) + world.logits(1, outcome)
    member = world.write(UNFUSED, **{outcome: whole})
    noise = draw.normal(size=whole.shape)
    baseline = world.write(TFIDF.model_copy(update={"name": "noise"}), **{outcome: noise})
    out = world.folder / f"useless-{outcome}"
    counts = write_stack(out, member, baseline, {outcome: world.outcomes[outcome]})
    assert counts[f"{outcome}_weight"] == 0.0
    alone = world.auroc(member, "unfused", outcome)
    assert world.auroc(out, "unfused+noise", outcome) > alone - 1e-3
    if outcome == "diagnoses":  # of classes, a softmax that is better calibrated ranks otherwise
        truth = world.truth(outcome, "test")
        both = [
            auroc_by_label(read_predictions(folder / outcome / "test.parquet")[1], *truth)
            for folder in (member / "unfused", out / "unfused+noise")
        ]
        np.testing.assert_allclose(both[0], both[1], atol=1e-4)


def test_the_test_split_moves_nothing(
    world: World, halves: tuple[Path, Path], stacked: Path
) -> None:
    """Other outcomes of test admissions and other predictions of them: validation stays."""
    outcome = world.folder / "emptied"
    rows = tables.read(world.outcomes["diagnoses"] / "outcomes", schemas.OUTCOMES).to_pylist()
    emptied = [{**row, "labels": []} if split_of(row["hadm_id"]) == "test" else row for row in rows]
    table = pa.Table.from_pylist(emptied, schemas.OUTCOMES)
    tables.write(outcome / "outcomes" / "part-0.parquet", schemas.OUTCOMES, table)
    labels = tables.read(world.outcomes["diagnoses"] / "labels", schemas.LABELS)
    tables.write(outcome / "labels" / "part-0.parquet", schemas.LABELS, labels)
    other = 5.0 * world.logits(0, "diagnoses")
    other[SPLIT["test"]] = 7.0
    member = world.write(FUSED.model_copy(update={"name": "other"}), diagnoses=other)
    write_stack(world.folder / "again", member, halves[1], {"diagnoses": outcome})
    expected = read_predictions(stacked / "fused+tfidf" / "diagnoses" / "validation.parquet")
    path = world.folder / "again" / "other+tfidf" / "diagnoses" / "validation.parquet"
    assert np.array_equal(expected[1], read_predictions(path)[1])


def test_a_label_of_which_the_baseline_says_nothing_is_the_members() -> None:
    """TF-IDF's logit of a label without training cases is 0, a chance of one half."""
    draw = np.random.default_rng(0)
    member = draw.normal(size=(50, 2)) - 3
    baseline = np.c_[draw.normal(size=50) - 3, np.zeros(50)]
    spreads = [Spread.of(logits, one_of=False) for logits in (member, baseline)]
    logits = Blend(0.7, *spreads, one_of=False).logits(member, baseline)
    np.testing.assert_allclose(logits[:, 1], member[:, 1], rtol=1e-6)
    assert abs(logits[:, 0] - member[:, 0]).max() > 0.1


def test_nothing_to_choose_by_leaves_the_member(world: World) -> None:
    """No validation admission."""
    outcome = read_outcome("diagnoses", world.outcomes["diagnoses"], np.array([], np.int64))
    none = np.zeros((0, 4))
    blend = fit_blend(outcome, none, none)
    assert blend.weight == 0.0
    assert blend.calibration == (1.0, 1.0, 0.0)
    assert comparable(np.zeros((0, 4), np.float32), one_of=True).shape == (0, 4)


def test_predictions_that_do_not_fit_are_refused(world: World, halves: tuple[Path, Path]) -> None:
    values = world.logits(0, "diagnoses")
    values[SPLIT["test"].argmax()] = np.nan
    diverged = world.write(FUSED.model_copy(update={"name": "diverged"}), diagnoses=values)
    outcomes = {"diagnoses": world.outcomes["diagnoses"]}
    with pytest.raises(EvaluationError, match=r"test predictions of variant 'diverged'.*NaN"):
        write_stack(world.folder / "none", diverged, halves[1], outcomes)
    values = world.logits(0, "diagnoses")
    shorter = world.write(FUSED.model_copy(update={"name": "short"}), diagnoses=values)
    path = shorter / "short" / "diagnoses" / "validation.parquet"
    ids, logits = read_predictions(path)
    write_predictions(path, ids[1:], logits[1:])
    with pytest.raises(EvaluationError, match=r"validation.*'tfidf'.*other admissions.*'short'"):
        write_stack(world.folder / "none", shorter, halves[1], outcomes)


def test_the_scores_are_those_of_the_steps_version(stacked: Path) -> None:
    assert (stack_member.version, digest_of(stacked)) == (1, "1326c3ce9cf39d19")


def test_its_record_says_what_it_is_and_what_it_is_compared_with(stacked: Path) -> None:
    [(stack, _)] = read_variants([stacked]).values()
    assert stack.title == "Fused + TF-IDF, stacked"
    assert stack.phrase == "the fused model stacked with TF-IDF"
    assert stack.trained == ("fused", "clinical", "tfidf")
    assert (stack.is_model, stack.is_member, stack.baseline) == (True, False, False)
    named = [(a.name, b.name) for a, b in comparisons([FUSED, UNFUSED, TFIDF, stack])]
    assert named == [
        ("fused", "unfused"), ("fused", "tfidf"),
        ("fused+tfidf", "fused"), ("fused+tfidf", "tfidf"),
    ]  # fmt: skip
    assert pq.read_schema(stacked / stack.name / "triage" / "test.parquet").field("logits")
