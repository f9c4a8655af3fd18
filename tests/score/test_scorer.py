"""Members that share a base say what each says alone, calibrated as the report has it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flows.score import _members
from tasks.data.predictions import read_predictions
from tasks.data.reading import read_admissions
from tasks.errors import StoreError
from tasks.evaluate.inputs import read_known, read_scores
from tasks.measures.calibration import calibration
from tasks.measures.recalibration import recalibrate
from tasks.measures.thresholds import best_thresholds
from tasks.score import held
from tasks.score.config import ScoreConfig
from tasks.score.scorer import Scorer
from tasks.score.server.listen import served_from
from tasks.store import Store
from tests.score.conftest import Members

ALL = ("fused", "unfused", "gated", "merged", "died", "triage", "ia3")


def predicted(members: Members, name: str, outcome: str) -> NDArray[np.float32]:
    """What the run's own program predicted of the test patients."""
    [path] = (members.folder / name).glob(f"*/{outcome}/test.parquet")
    return read_predictions(path)[1]


def texts(members: Members, split: str = "test") -> list[str]:
    notes: list[str] = members.notes(split)["note"].to_pylist()
    return notes


def check(members: Members, scorer: Scorer, names: Sequence[str]) -> None:
    """That all that these members say is what each of them predicted alone."""
    keys = {members.keys[name]: name for name in names}
    for key, told in scorer.score(texts(members), keys).items():
        for outcome, scores in told.items():
            expected = predicted(members, keys[key], outcome)
            np.testing.assert_allclose(scores.logits, expected, rtol=1e-4, atol=1e-4)


def test_members_on_one_base_say_what_each_predicted_alone(members: Members) -> None:
    scorer = Scorer(members.store, device="cpu")
    check(members, scorer, ALL)
    assert scorer.bases == 2  # IA3 has one for itself
    check(members, scorer, ALL[::-1])
    alone = predicted(members, "unfused", "diagnoses")
    assert np.abs(alone - predicted(members, "fused", "diagnoses")).max() > 0.1


def test_what_was_not_used_for_longest_makes_room(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters are loaded again when they are asked for again, and the base is not."""
    loaded: list[str] = []
    load = held.Backbone.load
    monkeypatch.setattr(
        held.Backbone,
        "load",
        lambda member, *more: (loaded.append(member.key), load(member, *more))[1],
    )
    scorer = Scorer(members.store, device="cpu", most_members=2)
    key = members.keys
    for names in (["fused"], ["unfused"], ["fused"], ["died"], ["unfused"]):
        check(members, scorer, names)
    assert scorer.held == (key["died"], key["unfused"])
    check(members, scorer, ["fused", "unfused", "died", "triage"])
    assert len(scorer.held) == 2
    assert loaded == [key["fused"]]
    check(members, scorer, ["ia3"])
    assert scorer.bases == 2
    check(members, scorer, ["fused", "died"])
    assert scorer.bases == 1
    [peft] = [backbone.peft for backbone in scorer._held._backbones.values()]
    assert peft is not None
    assert len(peft.peft_config) == 2  # fused's two; heads on a frozen trunk add none


def test_heads_on_one_frozen_trunk_share_the_forward_pass(members: Members) -> None:
    scorer = Scorer(members.store, device="cpu")
    keys = [members.keys["died"], members.keys["triage"]]
    scorer.score(texts(members)[:2], keys)
    [backbone] = scorer._held._backbones.values()
    calls: list[int] = []
    backbone.base.model.register_forward_hook(lambda *_: calls.append(1))
    trunk = next(iter(backbone.base.model.children()))
    trunk.register_forward_hook(lambda *_: calls.append(1))
    scorer.score(texts(members)[:2], keys)
    assert len(calls) == 1


def test_probabilities_and_flags_are_those_of_evaluation(members: Members) -> None:
    scorer = Scorer(members.store, device="cpu")
    for name, outcome in (("fused", "diagnoses"), ("triage", "triage")):
        key = members.keys[name]
        admissions = read_admissions(members.inputs.cohort)
        folder = getattr(members.inputs, outcome)
        known = read_known(outcome, folder, admissions, "validation")
        [path] = (members.folder / name).glob(f"*/{outcome}/validation.parquet")
        sample = known.sample(read_scores(name, path, known, admissions, "validation"))
        line = recalibrate(sample)
        note_of = dict(
            zip(
                *members.notes("validation").select(["hadm_id", "note"]).to_pydict().values(),
                strict=True,
            )
        )
        scores = scorer.score([note_of[each] for each in known.hadm_id.tolist()], [key])[key][
            outcome
        ]
        expected = 1 / (1 + np.exp(-(line.slope * sample.scores + line.intercept)))
        np.testing.assert_allclose(scores.probabilities, expected, atol=1e-4)
        thresholds = best_thresholds(sample)
        far = np.abs(sample.scores - thresholds) > 1e-3
        assert (scores.flagged == (sample.scores >= thresholds))[far].all()
        assert scores.labels.codes == known.codes
        # in the mean they are what was seen: a Brier score that is no worse than the raw one
        before, after = calibration(sample, np.arange(known.labels), [_raw(known.labels), line])
        assert np.nanmean(after.brier) <= np.nanmean(before.brier) + 1e-6


def _raw(labels: int) -> object:
    from tasks.measures.recalibration import unchanged

    return unchanged(labels)


def test_only_wanted_outcomes_are_computed(members: Members) -> None:
    key = members.keys["fused"]
    told = Scorer(members.store, device="cpu").score(["heart"], [key[:8]], ["mortality"])
    assert {name: list(of) for name, of in told.items()} == {key[:8]: ["mortality"]}


def test_a_member_without_its_predictions_is_refused(members: Members) -> None:
    with pytest.raises(StoreError, match="is no trained member"):
        Scorer(members.store, device="cpu").member(f"base/{next(iter(_bases(members)))}")


@pytest.mark.parametrize("kind", ["task-adapter", "predictions"])
def test_what_another_version_wrote_is_refused_by_name_before_anything_is_loaded(
    members: Members,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """By a scoring and by a server that name the member; one that serves all leaves it out."""
    shutil.copytree(members.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    key, other = members.keys["fused"], members.keys["died"]
    adapter = {"artifact": "task-adapter", "digest": store.manifest("task-adapter", key).digest}
    [damaged] = (
        each.key
        for each in store.manifests()
        if each.kind == kind and (each.key == key or each.config["job"].get("adapter") == adapter)
    )
    path = store.path(kind, damaged) / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "version": 99, "checksum": None}))
    monkeypatch.setattr(held.Held, "load", lambda *_: pytest.fail("it was loaded"))
    told = rf"{kind}/{damaged} was made by version 99 of its step, and this clinfuse reads"
    source = {"name": "night", "source": tmp_path, "members": [key]}
    with pytest.raises(StoreError, match=told):
        _members(store, ScoreConfig.model_validate(source))
    scorer = Scorer(store, device="cpu")
    with pytest.raises(StoreError, match=told):
        served_from(scorer, None, [key])
    served = served_from(scorer, None, ())
    assert other in served.members
    assert key not in served.members
    assert f"not served: {kind}/{damaged} was made by version 99" in caplog.text


def _bases(members: Members) -> list[str]:
    return [each.key for each in members.store.manifests() if each.kind == "base"]
