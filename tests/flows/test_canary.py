"""No patient's word leaves the store, and in the store none stands outside the Parquet parts."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import stages
from flows.compare import compare
from flows.loading import load_config
from flows.stages import adapt, audit, memory
from tasks.audit import steps as auditing
from tasks.errors import StepFailed
from tasks.evaluate import steps as evaluating
from tasks.finetune import steps as finetuning
from tasks.ingest import steps as ingesting
from tasks.pretrain import steps as pretraining
from tasks.pretrain.tokenizer import train_bpe
from tasks.report import steps as reporting
from tasks.step import Step
from tests.flows.conftest import World, on_the_server, serving
from tests.flows.planted import RARE, WORDS, identifiers
from tests.flows.postgresql import PROGRAMS, postgresql
from tests.flows.test_memory import SMALL
from tests.pretrain.encoders import write_encoder

STEPS = [
    found
    for module in stages.STEPS
    for found in vars(module).values()
    # a scratch base is made, not converted or quantized, and so is its tokenizer; and neither reads
    # a note
    if isinstance(found, Step)
    and found
    not in (pretraining.convert_base, pretraining.quantize_base, pretraining.convert_tokenizer)
]
AUDITED = (
    ingesting.cut_sections,
    auditing.audit_leaks,
)
CANARIES = (auditing.make_canaries, auditing.make_candidates)
ADAPTERS = (evaluating.measure_adapters, reporting.write_methods)
COMPARED = (evaluating.rank_runs, reporting.write_leaderboard)  # the others are of the chain
# what the run of this module does without, and how it is reached
ONTOLOGY = "finetune.members=[{name: sum, summands: [{adapter: ontology}]}]"
FROZEN = "finetune.adapter=null"
REACHED_BY: dict[Step, tuple[str, ...]] = {
    ingesting.list_ontology: (ONTOLOGY,),
    pretraining.train_ontology: (ONTOLOGY,),
    finetuning.embed_notes: (FROZEN,),
    finetuning.embed_titles: (FROZEN,),
}
SECRETS = (*WORDS, RARE, RARE.lower())  # a bag of words is in lower case


@pytest.fixture(scope="module", autouse=True)
def audited(world: World) -> None:
    """The leak audit of the same source, too: it names terms of the notes."""
    done = world.clinfuse("audit", "leaks", str(world.config))
    (world.folder / "first-run.audit").write_text(done.stdout + done.stderr)


def hits(paths: Iterable[Path], words: Iterable[str]) -> list[tuple[str, str]]:
    """Which file holds which word."""
    found = []
    for path in paths:
        content = path.read_bytes()
        found += [(word, str(path)) for word in words if word.encode() in content]
    return found


def outside_the_parts(world: World) -> list[Path]:
    """Every file that may hold no patient's word: all but Parquet and the source itself."""
    store = [path for path in world.store.root.rglob("*") if path.suffix != ".parquet"]
    home = world.database.parent.rglob("*")
    runs = world.folder.glob("first-run.*")
    return [path for path in (*store, *home, *runs) if path.is_file()]


def test_the_words_are_where_they_should_be(world: World) -> None:
    """Without this, an empty search would prove nothing."""
    import pyarrow.parquet as pq

    parts = world.store.root.glob("notes/*/notes/part-*.parquet")
    texts = [text for part in parts for text in pq.read_table(part)["text"].to_pylist()]
    for word in WORDS:
        assert sum(word in text for text in texts) > 20
    assert 0 < sum(RARE in text for text in texts) < 20


def test_the_audit_names_terms_of_enough_patients_only(world: World) -> None:
    import pyarrow.parquet as pq

    [part] = world.store.root.glob("leaks/*/terms/part-0.parquet")
    terms = pq.read_table(part)
    assert terms.num_rows > 100
    assert min(terms["patients"].to_pylist()) >= 20
    [sections] = world.store.root.glob("sections/*/sections/part-0.parquet")
    texts = pq.read_table(sections)["text"].to_pylist()
    assert 0 < sum(RARE in text for text in texts) < 20


def test_no_piece_of_the_tokenizer_is_of_a_note(world: World, tmp_path: Path) -> None:
    """It follows from the general corpus alone."""
    [made] = world.store.root.glob("tokenizer/*/tokenizer.json")
    size = load_config(world.config).pretrain.base.vocabulary_size
    train_bpe(world.folder / "synth" / "general.txt", size, tmp_path)
    assert made.read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_a_run_leaves_no_word_and_no_identifier_outside_the_parts(world: World) -> None:
    words = [*SECRETS, *identifiers(world.source)]
    assert world.database.stat().st_size > 0
    assert hits(outside_the_parts(world), words) == []


@pytest.mark.parametrize("failing", STEPS, ids=lambda step: f"{step.stage}-{step.kind}")
def test_a_step_that_fails_over_a_note_says_nothing_of_it(
    failing: Step,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        _fail_over_a_note(failing, world, monkeypatch)
    words = [*SECRETS, *identifiers(world.source)]
    printed = capfd.readouterr()
    for word in words:
        assert word not in caplog.text + printed.out + printed.err
    assert hits(outside_the_parts(world), words) == []


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAMS, reason="PostgreSQL (initdb, pg_dump) is not on this machine")
def test_a_server_on_postgresql_is_told_nothing_either(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first and the last step of the chain fail, what is between them is reused."""
    with postgresql() as database:
        url = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database.url}
        with serving(tmp_path / "home", {**os.environ, **url}) as (environment, _):
            for step in (ingesting.read_notes, reporting.write_pages):
                with monkeypatch.context() as patched:
                    elsewhere = replace(world, environment=environment)
                    _fail_over_a_note(step, elsewhere, patched)
            dump = database.dump_once_it_has("step 'report' stopped with ValueError")
    assert "reused clinical-adapter/" in dump
    words = [*SECRETS, *identifiers(world.source)]
    assert [word for word in words if word in dump] == []
    assert hits([path for path in tmp_path.rglob("*") if path.is_file()], words) == []


def _fail_over_a_note(failing: Step, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the step fail with an error that quotes a note, in a run on the world's server."""

    def fail(out: Path, **arguments: Any) -> dict[str, int]:
        (out / "half").mkdir()
        raise ValueError(
            f"could not convert '{WORDS[0]} {WORDS[1]} {RARE}' of {identifiers(world.source)}"
        )

    monkeypatch.setattr(failing, "function", fail)
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(tempfile, "tempdir", world.environment.get("TMPDIR"))  # searched, too
    refused = pytest.raises(StepFailed, match=f"'{failing.kind}' stopped with ValueError")
    with refused, on_the_server(world):
        _run_through(failing, world)
    shutil.rmtree(world.store.root / ".making", ignore_errors=True)


def _run_through(failing: Step, world: World) -> None:
    """Run the flow that has the step (most are of the chain), and make its artifact anew."""
    if failing in (*COMPARED, *ADAPTERS):
        comparison = world.folder / "canary.yaml"
        given = {"name": "canary", "runs": [{"preset": str(world.config)}], "seeds": [0]}
        given["stage"] = "pretrain" if failing in ADAPTERS else "finetune"
        comparison.write_text(yaml.safe_dump(given))
        compare(preset=str(comparison))
    elif failing is auditing.audit_memory:
        memory(preset=str(world.config), overrides=SMALL, refresh=(failing.kind,))
    elif failing is pretraining.train_output:  # only of an encoder that came without one
        folder = write_encoder(world.folder / "headless", with_output=False)
        base = f"pretrain.base={{kind: path, path: {folder}}}"
        small = ("pretrain.adapter.targets=all-linear", "pretrain.max_tokens=2000")
        adapt(preset=str(world.config), overrides=(base, *small), refresh=(failing.kind,))
    elif failing in CANARIES:  # others than the audit of this world has made
        memory(preset=str(world.config), overrides=(*SMALL, "memory.seed=1"))
    else:
        flow = audit if failing in AUDITED else adapt
        overrides = REACHED_BY.get(failing, ())
        flow(preset=str(world.config), overrides=overrides, refresh=(failing.kind,))
