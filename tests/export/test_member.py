"""Which parts a member is made of, found in a store; and what is refused before anything starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import ConfigError, StoreError
from tasks.export.card import write_card
from tasks.export.export import export
from tasks.export.job import Exported
from tasks.export.member import Member
from tasks.inspection import READ_VERSIONS
from tasks.keys import Artifact, describe
from tasks.runs import Run
from tasks.store import Store
from tests.export.conftest import NAMES
from tests.finetune.conftest import Inputs
from tests.test_store import FACTS


def commit(
    store: Store, kind: str, key: str, content: Path | None = None, **facts: Any
) -> Artifact:
    out = store.fresh(kind, key)
    (out / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    if content is not None:
        for path in sorted(content.rglob("*")):
            if path.is_file():
                (out / path.relative_to(content)).parent.mkdir(parents=True, exist_ok=True)
                (out / path.relative_to(content)).write_bytes(path.read_bytes())
    return store.commit(out, {**FACTS, "kind": kind, "key": key, **facts})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def member(store: Store, inputs: Inputs, base: Path) -> Member:
    """A member of two outcomes on a base outside of the store, beside a clinical adapter."""
    clinical = commit(store, "clinical-adapter", "c" * 16)
    encoded = commit(store, "encoded", "e" * 16, config={"max_tokens": 77})
    outcomes = {
        name: commit(store, "outcome", letter * 16, getattr(inputs, name))
        for name, letter in (("diagnoses", "d"), ("mortality", "m"))
    }
    job = {
        "member": "fused",
        "base": base,
        "tokenizer": base,
        "encoded": encoded,
        "summands": {"clinical": clinical},
        "weights": {"clinical": 0.5},
        "outcomes": outcomes,
        "layer": None,
        "words": False,
        "config": {"adapter": {"kind": "lora"}},
    }
    used = [clinical, encoded, *outcomes.values()]
    made = commit(
        store,
        "task-adapter",
        "abcd" * 4,
        version=READ_VERSIONS["task-adapter"][-1],
        config=describe({"job": job}, store.fingerprints),
        inputs=[{"kind": a.kind, "key": a.key, "digest": a.digest} for a in used],
    )
    run = Run(
        id="r",
        name="a run",
        flow="adapt",
        deployment=None,
        started="2026",
        parameters={"config": {"pretrain": {"base": {"kind": "path", "path": str(base)}}}},
    )
    run.reach(made, "made", 1)
    run.save(store.root)
    return Member.find(store, "abcd")


def test_the_parts_are_those_that_it_was_made_from(
    member: Member, store: Store, base: Path
) -> None:
    job = member.job("diagnoses", None, "float32")
    assert job.base == job.tokenizer == base, "found by the run that used it"
    assert job.summands == {"clinical": store.path("clinical-adapter", "c" * 16)}
    assert job.weights == {"clinical": 0.5}
    assert (job.max_tokens, job.labels, job.one_of) == (77, NAMES, False)
    assert not job.frozen


def test_another_base_is_refused(member: Member, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the base that task-adapter/abcd"):
        member.job("diagnoses", tmp_path, "float32")
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"not known where the base lies.*--base"):
        member.job("diagnoses", None, "float32")
    assert member.job("diagnoses", moved, "float32").base == moved


def test_what_is_gone_is_named(member: Member, store: Store) -> None:
    store.path("clinical-adapter", "c" * 16).rename(store.root / "elsewhere")
    with pytest.raises(StoreError, match=f"clinical-adapter/{'c' * 16} is gone"):
        member.job("diagnoses", None, "float32")


def test_an_outcome_has_to_be_named(member: Member) -> None:
    with pytest.raises(ConfigError, match=r"has 2 outcomes.*diagnoses, mortality"):
        member.outcome(None)
    with pytest.raises(
        ConfigError, match="has no outcome 'readmission'; --outcome takes diagnoses"
    ):
        member.outcome("readmission")


def test_nothing_is_overwritten_and_only_members_are_exported(
    member: Member, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is there already; name a new folder"):
        export(store, "abcd", tmp_path / "there", "diagnoses")
    with pytest.raises(StoreError, match=r"no trained member; give the key of a task-adapter"):
        export(store, "cccc", tmp_path / "new", "diagnoses")
    assert (tmp_path / "there" / "file").read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_the_command_leaves_torch_to_its_child() -> None:
    code = "import flows.cli, tasks.export.export, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("exported", "told"),
    [
        (Exported(own_code=True, difference=2e-6, rank=8), "trust_remote_code=True, top_k=None"),
        (Exported(difference=2e-6, rank=8, with_head=True), "modules_to_save: [score]"),
        (Exported(difference=2e-6, rank=8, with_head=True, with_bias=True), "torch.nn.Linear("),
        (Exported(not_merged="the base is quantized"), "Is not here: the base is quantized."),
        (Exported(difference=0.1, not_fused="'task' is no plain LoRA"), "no plain LoRA."),
    ],
)
def test_the_card_says_what_there_is_and_how_it_is_loaded(
    member: Member, tmp_path: Path, exported: Exported, told: str
) -> None:
    adapter = tmp_path / "adapters" / "task"
    adapter.mkdir(parents=True)
    named = {"base_model_name_or_path": "some/base", "revision": "0" * 40}
    (adapter / "adapter_config.json").write_text(json.dumps(named))
    write_card(tmp_path, member, member.job("diagnoses", None, "float32"), exported)
    card = (tmp_path / "README.md").read_text()
    assert told in card
    assert "clinical adapter, added 0.5 times | clinical-adapter/cccc" in card
    assert "PhysioNet Credentialed Health Data Use Agreement" in card
    assert "| base | some/base |" in card
    assert "{{" not in card
    assert "\n\n\n" not in card


@pytest.mark.parametrize("version", [READ_VERSIONS["task-adapter"][0] - 1, 99])
def test_a_member_of_a_version_that_is_not_read_is_refused_by_name(
    store: Store, version: int
) -> None:
    commit(store, "task-adapter", "f" * 16, version=version, config={"job": {}})
    with pytest.raises(StoreError, match=rf"task-adapter/f+ was made by version {version} "):
        Member.find(store, "f" * 16)


def test_what_is_read_by_key_is_read_in_the_version_that_its_step_makes() -> None:
    """Who raises a version says in READ_VERSIONS whether older ones can still be read."""
    from tasks.finetune.steps import predict, train_member

    assert READ_VERSIONS["task-adapter"][-1] == train_member.version
    assert READ_VERSIONS["predictions"][-1] == predict.version
