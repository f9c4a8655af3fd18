"""A store with members that were built and not trained, and the predictions that each made."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks import schemas, tables
from tasks.finetune import embed, predict
from tasks.finetune.jobs import EmbedJob, MemberJob, PredictJob
from tasks.finetune.members import FUSED, UNFUSED, MemberConfig, SummandConfig
from tasks.inspection import READ_VERSIONS
from tasks.keys import Artifact, describe, inputs_of
from tasks.model.adapters.fusions import Fusion
from tasks.model.adapters.methods import Ia3
from tasks.provenance import provenance
from tasks.score.job import ScoreJob
from tasks.score.reference import write_reference
from tasks.store import Store
from tests.export.conftest import randomized
from tests.finetune.conftest import Inputs
from tests.finetune.conftest import inputs as inputs
from tests.finetune.test_train import one_rank

MOST_TOKENS = 64  # as `inputs` are encoded


@dataclass(frozen=True)
class Members:
    """Members in a store, by a name for each: what they are is in `members` below."""

    store: Store
    keys: Mapping[str, str]
    inputs: Inputs
    folder: Path  # with the predictions of each: <name>/<variant>/<outcome>/<split>.parquet

    def notes(self, split: str) -> pa.Table:
        table = tables.read(self.inputs.cohort / "admissions", schemas.ADMISSIONS)
        return table.filter(pa.compute.equal(table["split"], split))

    def job(self, folder: Path, arrivals: pa.Table, *names: str, **more: Any) -> ScoreJob:
        """A scoring of these admissions by the members of these names."""
        tables.write(
            folder / "arrivals" / "admissions" / "part-0.parquet", schemas.ADMISSIONS, arrivals
        )
        reference = folder / "reference"
        if not reference.is_dir():
            reference.mkdir(parents=True)
            write_reference(reference, self.inputs.cohort, self.inputs.encoded)
        keys = tuple(self.keys[name] for name in names)
        return ScoreJob(
            store=self.store.root,
            arrivals=folder / "arrivals",
            members=keys,
            references=dict.fromkeys(keys, reference),
            **more,
        )


@pytest.fixture(scope="session")
def members(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Members:
    """Two sums of LoRAs, heads on one frozen trunk, and one that is no sum of LoRAs."""
    folder = tmp_path_factory.mktemp("score")
    store = Store(folder / "store")
    made = _Made(store, inputs, folder)
    frozen = made.on_states(inputs.job(UNFUSED, adapter=None, outcomes=("diagnoses", "triage")))
    jobs = {
        "fused": (FUSED, inputs.job(FUSED)),
        "unfused": (UNFUSED, inputs.job(UNFUSED, outcomes=("diagnoses",))),
        "died": (UNFUSED, frozen.model_copy(update={"outcomes": {"mortality": inputs.mortality}})),
        "triage": (UNFUSED, frozen.model_copy(update={"outcomes": {"triage": inputs.triage}})),
        **{how: (_summed(how), inputs.job(_summed(how))) for how in ("gated", "merged")},
        "ia3": (
            UNFUSED,
            inputs.job(UNFUSED, adapter=Ia3(targets=("q_proj", "v_proj")), outcomes=("mortality",)),
        ),
    }
    keys = {name: made.member(name, *of) for name, of in jobs.items()}
    return Members(store, keys, inputs, folder)


def _summed(fusion: Fusion) -> MemberConfig:
    return MemberConfig(name=fusion, summands=(SummandConfig(fusion=fusion),))


class _Made:
    """Puts into a store what a run would."""

    def __init__(self, store: Store, inputs: Inputs, folder: Path) -> None:
        self.store, self.folder = store, folder
        view = {"view": {"kind": "full"}, "exclude_admission_types": []}
        self.artifacts = {"cohort": self.put("cohort", inputs.cohort, view)}
        cohort = self.artifacts["cohort"]
        read = {"cohort": cohort, "max_tokens": MOST_TOKENS, "tail_tokens": 0}
        self.artifacts |= {
            "encoded": self.put("encoded", inputs.encoded, read),
            "base": self.put("base", inputs.base, {}),
            "tokenizer": self.put("tokenizer", inputs.tokenizer, {}),
            "clinical": self.put("clinical-adapter", inputs.clinical, {}),
            **{
                name: self.put("outcome", getattr(inputs, name), {"outcome": name})
                for name in ("diagnoses", "mortality", "triage")
            },
        }

    def put(self, kind: str, content: Path, given: Mapping[str, Any]) -> Artifact:
        """Commit a copy of a folder as an artifact that was made from what is given."""
        key = hashlib.sha256(f"{kind} {content}".encode()).hexdigest()[:16]
        out = self.store.fresh(kind, key)
        shutil.copytree(content, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("work"))
        facts = {
            "kind": kind,
            "key": key,
            "version": READ_VERSIONS.get(kind, (1,))[-1],
            "config": describe(given, self.store.fingerprints),
            "inputs": [
                {"kind": each.kind, "key": each.key, "digest": each.digest}
                for each in inputs_of(given)
            ],
            "counts": {},
            "seconds": 0.0,
            "peak_mib": 0.0,
            **provenance(),
            "flow_run_id": None,
            "task_run_id": None,
        }
        return self.store.commit(out, facts)

    def on_states(self, job: MemberJob) -> MemberJob:
        """The job on the states of its trunk, as `Training._with_states` has it."""
        trunk = EmbedJob(base=job.base, tokenizer=job.tokenizer, precision="fp32")
        for name, of_what in (("states", {"encoded": job.encoded}), ("titles", {})):
            more = of_what or {"outcomes": job.outcomes}
            embed.main(trunk.model_copy(update=more), one_rank(self.folder / name))
        found = {"states": self.folder / "states", "titles": self.folder / "titles"}
        return job.model_copy(update=found)

    def member(self, name: str, config: MemberConfig, job: MemberJob) -> str:
        """Build it, let it predict, and commit both; its key."""
        folder = self.folder / f"{name}-member"
        randomized(job, one_rank(folder), folder)
        variants = (config.variant(),)
        predicting = PredictJob(member=job, adapter=folder, variants=variants)
        predict.main(predicting, one_rank(self.folder / name))
        described = self._described(job)
        adapter = self.put("task-adapter", folder, {"job": described, "known_as": None})
        given = {"job": {"member": described, "adapter": adapter}}
        self.put("predictions", self.folder / name, given)
        return adapter.key

    def _described(self, job: MemberJob) -> MemberJob:
        names: Sequence[str] = ("base", "tokenizer", "encoded")
        return job.model_copy(
            update={
                **{name: self.artifacts[name] for name in names},
                "summands": {name: self.artifacts[name] for name in job.summands},
                "outcomes": {name: self.artifacts[name] for name in job.outcomes},
            }
        )
