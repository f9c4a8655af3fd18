"""One table of notes, and OMOP's tables: down to the report, to scores, and no word of them out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from flows import score as scoring
from flows import stages
from tasks.errors import SourceError
from tasks.launch import LaunchConfig
from tasks.score.job import ScoreJob
from tasks.store import Store
from tasks.synth.synthesize import synthesize
from tests.finetune.test_train import one_rank
from tests.flows.conftest import ROOT, TINY, World, on_the_server
from tests.flows.planted import identifiers, plant
from tests.flows.test_canary import SECRETS, hits, outside_the_parts
from tests.ingest.to_omop import to_omop
from tests.ingest.to_table import to_table

OUTCOMES: dict[str, list[dict[str, Any]]] = {
    "table": [
        {"kind": "labels", "column": "labels", "min_count": 10},
        {"kind": "labels", "name": "ward", "column": "ward", "one_of": True},
    ],
    "omop": [
        {"kind": "diagnoses", "min_count": 10, "predict_at": 24},
        {"kind": "length_of_stay", "predict_at": 24},
    ],
}
NAMES = {"table": {"labels", "ward"}, "omop": {"diagnoses", "length_of_stay"}}


@dataclass(frozen=True)
class Own(World):
    """A world of a source of a kind, and the notes of other patients in the same form."""

    kind: str
    mimic: Path  # that the source was made of
    other_mimic: Path
    others: dict[str, Any]  # as `source` of a scoring

    @property
    def words(self) -> list[str]:
        """What no log may say."""
        return [*SECRETS, *identifiers(self.mimic), *identifiers(self.other_mimic)]


@pytest.fixture(scope="module", params=["table", "omop"])
def own(
    request: pytest.FixtureRequest,
    server: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Own:
    """The preset of the kind at the tests' smallest sizes, run once; both share a store."""
    kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    store = tmp_path_factory.getbasetemp() / "own-store"
    mimic = synthesize(folder / "synth", patients=150, seed=21, general_characters=80_000).source
    other_mimic = synthesize(folder / "other", patients=30, seed=22, general_characters=1).source
    for source in (mimic, other_mimic):
        plant(source, every=3)
    if kind == "table":
        path = to_table(mimic, folder / "notes.csv")
        others = {"path": str(to_table(other_mimic, folder / "others.parquet"))}
    else:
        path = to_omop(mimic, folder / "cdm", admission_notes=True)
        to_omop(other_mimic, folder / "others", parquet=True, admission_notes=True)
        others = {"path": str(folder / "others")}
    config = _preset(kind, path, folder / "synth" / "general.txt")
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    made = Own(
        folder=folder,
        source=path,
        config=folder / "own.yaml",
        store=Store(store),
        environment={**server, "CLINFUSE_STORE": str(store)},
        database=Path(server["PREFECT_HOME"]) / "prefect.db",
        fence=None,  # type: ignore[arg-type]
        kind=kind,
        mimic=mimic,
        other_mimic=other_mimic,
        others=config["ingest"]["source"] | others,
    )
    with on_the_server(made):
        stages.adapt(preset=str(made.config))
    return made


def _preset(kind: str, path: Path, corpus: Path) -> dict[str, Any]:
    tiny = yaml.safe_load(TINY.read_text())
    config: dict[str, Any] = yaml.safe_load((ROOT / "configs" / f"{kind}.yaml").read_text())
    config |= {stage: tiny[stage] for stage in ("pretrain", "finetune", "launch")}
    config["pretrain"]["base"]["corpus"] = str(corpus)
    config["finetune"]["members"] = [{"name": "fused", "summands": [{"adapter": "clinical"}]}]
    config["pretrain"]["perplexity_patients"] = 5
    config["finetune"]["evidence"] = None
    config["baselines"] = {"tfidf": None}
    config["ingest"]["source"]["path"] = str(path)
    config["ingest"]["outcomes"] = OUTCOMES[kind]
    return config


def test_it_comes_to_a_report_without_a_word_of_mimic(own: Own) -> None:
    [metrics] = _made(own, "metrics")
    rows = pq.read_table(metrics / "metrics.parquet")
    assert set(rows["outcome"].to_pylist()) - {""} >= NAMES[own.kind]
    [report] = _made(own, "report")
    for name in ("report.html", "report.md", "model-card.md", "tripod-ai.md"):
        text = (report / name).read_text().replace(str(own.folder), "")
        assert "MIMIC" not in text.upper(), name
    page, card = (report / "report.html").read_text(), (report / "model-card.md").read_text()
    if own.kind == "table":
        assert "rank texts by their labels" in page
        assert "A row of the table is a text of its own" in page
        assert "no such column" not in page  # a table says nothing of race, by its kind
        assert "NEWBORN" not in (report / "tripod-ai.md").read_text()
        assert "| Ward | labels beside the texts" in card.replace("| ward", "| Ward")
        assert "when the text is written" in card
    else:
        assert "Records laid out as OMOP's tables" in card
        assert "the notes of the admission's first 24 hours" in card


def test_other_notes_are_scored(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of patients whom no model has seen; the program runs in this process."""
    from tasks.score import run

    def here(_: str, job: ScoreJob, work: Path, __: LaunchConfig) -> None:
        run.main(job, one_rank(work))
        (work / "work" / "counts.json").rename(work / "counts.json")

    monkeypatch.setattr(scoring, "launch", here)
    config = own.folder / "night.yaml"
    given = {"name": "night", "source": own.others, "run": own.kind}
    config.write_text(yaml.safe_dump({**given, "launch": {"accelerator": "cpu"}}))
    with on_the_server(own):
        scored = scoring.score(preset=str(config), return_state=True).result()
    [member] = _made(own, "task-adapter")
    scores = ds.dataset(own.store.root / "scores", partitioning="hive").to_table()
    mine = scores.filter(pc.equal(scores["model"], member.name))
    texts = len(pc.unique(mine["hadm_id"]))
    assert texts == 39
    assert set(pc.unique(mine["outcome"]).to_pylist()) == NAMES[own.kind]
    assert (scored.new, scored.admissions) == (2 * texts, texts)
    assert 0 < pc.min(mine["probability"]).as_py() < pc.max(mine["probability"]).as_py() < 1


def body(damage: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """The damage, but for the header line."""

    def damaged(content: bytes) -> bytes:
        header, _, rows = content.partition(b"\n")
        return header + b"\n" + damage(rows)

    return damaged


DAMAGES: dict[str, list[tuple[str, Callable[[bytes], bytes], str]]] = {
    "table": [
        ("", lambda rows: rows.replace(b"Plantworthy", b"Plantworth\xff"), "is not UTF-8"),
        ("", body(lambda rows: rows + rows), "id occurs twice"),
        ("", lambda rows: rows[:-3], "does not end"),
    ],
    "omop": [
        ("NOTE.csv", lambda rows: rows.replace(b"Plantworthy", b"Plantworth\xff"), "is not UTF-8"),
        ("PERSON.csv", body(lambda rows: rows.replace(b"\n", b"\nzyxqua ")), "not a whole number"),
        ("CONDITION_OCCURRENCE.csv", lambda rows: rows.partition(b"\n")[2], "or a header line"),
    ],
}


def test_a_damaged_source_is_refused_without_a_word_of_it(
    own: Own, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the stage that reads it, and by a scoring."""
    for file, damage, told in DAMAGES[own.kind]:
        whole = own.source / file if file else own.source
        damaged = own.folder / f"damaged-{whole.name}"
        damaged.write_bytes(damage(whole.read_bytes()))
        if file:  # beside the others, whole
            folder = own.folder / f"damaged-{file}-cdm"
            shutil.copytree(own.source, folder)
            damaged = damaged.rename(folder / file).parent
        night = own.folder / "damaged.yaml"
        source = {**own.others, "path": str(damaged)}
        night.write_text(yaml.safe_dump({"name": "night", "source": source, "run": own.kind}))
        with caplog.at_level(logging.DEBUG), on_the_server(own):
            with pytest.raises(SourceError, match=told):
                stages.ingest(preset=str(own.config), source=str(damaged))
            if told == "is not UTF-8":
                with pytest.raises(SourceError, match=told):
                    scoring.score(preset=str(night))
    printed = capfd.readouterr()
    told = caplog.text + printed.out + printed.err
    assert "SourceError" in told
    assert [word for word in own.words if word in told] == []


def test_nothing_of_it_stands_outside_the_parts(own: Own) -> None:
    """After all of the above; the words are there to be found, in the Parquet parts."""
    parts = [path for folder in _made(own, "notes") for path in (folder / "notes").iterdir()]
    texts = [text for part in parts for text in pq.read_table(part)["text"].to_pylist()]
    assert all(any(word in text for text in texts) for word in SECRETS[:2])
    assert hits(outside_the_parts(own), own.words) == []


def _made(own: Own, kind: str) -> list[Path]:
    """The folders of the run's artifacts of that kind."""
    from tasks.runs import load_runs

    runs = [run for run in load_runs(own.store.root) if str(own.config) in str(run.parameters)]
    run = max(runs, key=lambda run: len(run.artifacts))  # others were refused
    return [own.store.path(kind, each.key) for each in run.artifacts if each.kind == kind]
