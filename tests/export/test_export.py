"""What was exported is loaded by a process without clinfuse, and gives the member's logits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.special import expit, softmax

from tasks.export import write
from tasks.export.job import Exported, ExportJob
from tasks.finetune.jobs import MemberJob
from tasks.finetune.members import FUSED, UNFUSED, MemberConfig, SummandConfig
from tasks.model.adapters.fusions import Fusion
from tasks.model.adapters.methods import Dora, Lora
from tests.export.conftest import (
    CLASS_NAMES,
    NAMES,
    export_job,
    frozen_encoder,
    member_logits,
    notes_of,
    randomized,
    run_alone,
)
from tests.finetune.conftest import Inputs
from tests.finetune.test_train import one_rank

ADAPTER = Lora(rank=4, targets=("q_proj", "v_proj", "embed_tokens"))
PAPER = {"kind": "linear", "scaling": "none", "bias": False}

# one process for all of them, since it takes seconds to start
LOADS_ALL = """
import json
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast, pipeline


def by_pipeline(case):
    more = {"trust_remote_code": True} if case["own_code"] else {}
    call = {} if case["own_code"] else {"truncation": True}
    classify = pipeline("text-classification", case["out"] + "/merged", top_k=None, **more)
    order = list(classify.model.config.id2label.values())

    def scored(**call):
        rows = classify(case["notes"], batch_size=3, **call)
        scores = [{one["label"]: one["score"] for one in row} for row in rows]
        return [[of_note[name] for name in order] for of_note in scores]

    return {
        "class": type(classify.model).__name__,
        "order": order,
        "chances": scored(**call),  # by the model's own problem_type
        "logits": scored(function_to_apply="none", **call),
    }


def by_peft(case):
    labels = case["labels"]
    model = AutoModelForSequenceClassification.from_pretrained(case["base"], num_labels=labels)
    if case["with_bias"]:
        model.score = torch.nn.Linear(model.score.in_features, labels)
    model = PeftModel.from_pretrained(model, case["out"] + "/fused").eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(case["out"] + "/merged")
    logits = []
    for note in case["notes"]:
        ids = tokenizer(note, truncation=True, return_tensors="pt")
        with torch.no_grad():
            logits.append(model(**ids).logits[0].tolist())
    return logits


answers = {}
for name, case in json.load(open("cases.json")).items():
    answers[name] = by_pipeline(case)
    if case["with_head"]:
        answers[name]["fused"] = by_peft(case)
json.dump(answers, open("answers.json", "w"))
"""


@dataclass(frozen=True)
class Written:
    """An exported member, and what a process without clinfuse made of it."""

    job: ExportJob
    out: Path
    exported: Exported
    notes: list[str]
    logits: NDArray[np.float32]  # [notes, labels], the member's own
    answer: dict[str, Any]

    def check_merged(self) -> None:
        """The labels in their order, the member's logits, and the chances that these are."""
        assert np.ptp(self.logits, axis=0).max() > 0.1, "else any model would do"
        assert self.exported.difference is not None
        assert self.exported.difference < 1e-4
        assert self.answer["order"] == list(self.job.labels)
        np.testing.assert_allclose(self.answer["logits"], self.logits, atol=1e-4)
        chances = softmax(self.logits, axis=1) if self.job.one_of else expit(self.logits)
        np.testing.assert_allclose(self.answer["chances"], chances, atol=1e-4)


def _learns_on(inputs: Inputs) -> MemberJob:
    member = MemberConfig(name="both", summands=(SummandConfig(fusion="trained"),))
    return inputs.job(member, adapter=Dora(rank=4, targets=("q_proj", "v_proj")))


def _summed(fusion: Fusion) -> MemberConfig:
    return MemberConfig(name="sum", summands=(SummandConfig(fusion=fusion),))


CASES: dict[str, Callable[[Inputs, Path], MemberJob]] = {
    "linear": lambda inputs, _: inputs.job(
        FUSED, adapter=ADAPTER, head={"kind": "linear"}
    ).model_copy(update={"weights": {"clinical": 0.5}}),
    "paper": lambda inputs, _: inputs.job(FUSED, adapter=ADAPTER, head=PAPER),
    "attention": lambda inputs, _: inputs.job(FUSED),
    "classes": lambda inputs, _: inputs.job(UNFUSED, outcomes=("triage",)),
    "encoder": frozen_encoder,
    "learns on": lambda inputs, _: _learns_on(inputs),
    "mean": lambda inputs, _: inputs.job(
        UNFUSED, head={"kind": "linear", "pool": "mean", "scaling": "centered"}
    ),
    "max": lambda inputs, _: inputs.job(UNFUSED, head={"kind": "linear", "pool": "max"}),
    "gated": lambda inputs, _: inputs.job(
        _summed("gated"), adapter=ADAPTER, head={"kind": "linear"}
    ).model_copy(update={"weights": {"clinical": 0.5}}),
    "merged": lambda inputs, _: inputs.job(
        _summed("merged"), adapter=ADAPTER, head={"kind": "adapter", "pool": "attention"}
    ).model_copy(update={"weights": {"clinical": 0.5}}),
    "bottleneck": lambda inputs, _: inputs.job(
        FUSED, adapter={"kind": "bottleneck"}, head={"kind": "lightweight", "pool": "mean"}
    ),
    "chunks": lambda inputs, _: inputs.job(UNFUSED, head="tiny_attention").model_copy(
        update={"chunk": 16}
    ),
    "tail": lambda inputs, _: inputs.job(FUSED, head={"kind": "gated_residual", "pool": "max"}),
    "tied": lambda inputs, _: inputs.job(UNFUSED, adapter="full", head={"queries": "tied"}),
    "first layer": lambda inputs, _: inputs.job(UNFUSED, head={"kind": "linear"}).model_copy(
        update={"layer": 1}
    ),
}
MORE: dict[str, dict[str, Any]] = {
    "encoder": {"max_tokens": 300},
    "tail": {"tail_tokens": 15},
    "classes": {"outcome": "triage", "labels": CLASS_NAMES, "one_of": True},
}


@pytest.fixture(scope="module")
def written(
    inputs: Inputs, process_group: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Written]:
    """Every case, exported and loaded."""
    root = tmp_path_factory.mktemp("exported")
    cases: dict[str, dict[str, Any]] = {}
    jobs: dict[str, tuple[ExportJob, Exported, Path]] = {}
    for name, job_of in CASES.items():
        folder = root / name.replace(" ", "-")
        folder.mkdir()
        job = job_of(inputs, folder)
        randomized(job, one_rank(folder / "built"), folder / "member")
        exporting = export_job(job, folder / "member", **MORE.get(name, {}))
        world = one_rank(folder / "out")
        write.main(exporting, world)
        exported = Exported.model_validate_json((world.work / "exported.json").read_text())
        jobs[name] = exporting, exported, folder / "out"
        cases[name] = {
            "out": str(folder / "out"),
            "base": str(exporting.base),
            "labels": len(exporting.labels),
            # classes of transformers' own take no empty text
            "notes": [*notes_of(inputs), *[""] * exported.own_code],
            **exported.model_dump(include={"own_code", "with_head", "with_bias"}),
        }
    (root / "cases.json").write_text(json.dumps(cases))
    run_alone(LOADS_ALL, root)
    answers = json.loads((root / "answers.json").read_text())
    found = {}
    for name, (job, exported, out) in jobs.items():
        notes = cases[name]["notes"]
        logits = member_logits(job, notes)
        found[name] = Written(job, out, exported, notes, logits, answers[name])
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_merged_model_says_what_the_member_says(written: dict[str, Written], name: str) -> None:
    """Of notes with markers in them, longer than is read, and empty, one by one and in batches."""
    written[name].check_merged()


def test_transformers_own_class_is_taken_where_it_is_the_same(written: dict[str, Written]) -> None:
    classes = {name: each.answer["class"] for name, each in written.items()}
    assert classes.pop("paper") == "LlamaForSequenceClassification"
    assert set(classes.values()) == {"ClinfuseForSequenceClassification"}


@pytest.mark.parametrize("name", ["linear", "paper", "gated"])
def test_one_adapter_is_the_sum_and_has_the_head(written: dict[str, Written], name: str) -> None:
    made = written[name]
    np.testing.assert_allclose(made.answer["fused"], made.logits, atol=1e-4)
    tensors = load_file(made.out / "fused" / "adapter_model.safetensors")
    ranks = {len(tensor) for key, tensor in tensors.items() if "lora_A" in key or "_A" in key}
    assert ranks == {8} == {made.exported.rank}
    head = {key for key in tensors if ".score." in key}
    of_bias = {"base_model.model.score.bias"} if name != "paper" else set()
    assert head == {"base_model.model.score.weight"} | of_bias
    config = json.loads((made.out / "fused" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["score"]
    assert config["task_type"] == "SEQ_CLS"


def test_which_members_have_their_head_in_the_adapter(written: dict[str, Written]) -> None:
    """Others' classifiers read the last layer's last token, and nothing else."""
    with_head = {name for name, each in written.items() if each.exported.with_head}
    assert with_head == {"linear", "paper", "gated"}
    assert written["merged"].exported.rank == 8
    assert written["encoder"].exported.rank == 4, "of the summand alone"
    assert "'task' is no plain LoRA" in written["learns on"].exported.not_fused
    assert not (written["learns on"].out / "fused").exists()
    for name in ("bottleneck", "tied"):
        assert "'task' is no plain LoRA" in written[name].exported.not_fused


def test_there_is_nothing_of_clinfuse_in_the_code_beside_the_weights(
    written: dict[str, Written],
) -> None:
    files = sorted((written["attention"].out / "merged").glob("*.py"))
    assert {"modeling_clinfuse.py", "chunks.py", "label_attention.py"} < {f.name for f in files}
    assert not any("tasks." in file.read_text() for file in files)
    assert not list((written["paper"].out / "merged").glob("*.py"))


def test_an_architecture_whose_merged_form_differs_is_refused(
    written: dict[str, Written], process_group: None, tmp_path: Path, monkeypatch: Any
) -> None:
    """The program compares what it wrote with the member: here it is made to write another head."""
    right = write.write_merged

    def wrong(out: Path, job: ExportJob, base: Any, heads: Any, tokenizer: Any) -> bool:
        heads.head(job.outcome).bias.add_(0.1)
        return right(out, job, base, heads, tokenizer)

    monkeypatch.setattr(write, "write_merged", wrong)
    world = one_rank(tmp_path / "out")
    write.main(written["attention"].job, world)
    exported = Exported.model_validate_json((world.work / "exported.json").read_text())
    assert "differ by up to 0.1 from those of the member" in exported.not_merged
    assert not (tmp_path / "out" / "merged").exists()
    assert exported.rank == 8, "the rest is there"


def test_into_a_quantized_base_nothing_is_merged(
    written: dict[str, Written], process_group: None, tmp_path: Path
) -> None:
    job = written["paper"].job
    shutil.copytree(job.base, tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    world = one_rank(tmp_path / "out")
    write.main(job.model_copy(update={"base": tmp_path / "base"}), world)
    exported = Exported.model_validate_json((world.work / "exported.json").read_text())
    assert exported.not_merged.startswith("the base is quantized")
    assert (exported.rank, exported.with_head) == (8, True)


def test_half_precision_rounds_what_is_merged(
    written: dict[str, Written], process_group: None, tmp_path: Path
) -> None:
    world = one_rank(tmp_path / "out")
    write.main(written["attention"].job.model_copy(update={"dtype": "bfloat16"}), world)
    exported = Exported.model_validate_json((world.work / "exported.json").read_text())
    assert exported.difference is not None
    assert 1e-4 < exported.difference < 1
    tensors = load_file(tmp_path / "out" / "merged" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.bfloat16"}


def test_the_names_of_labels(written: dict[str, Written]) -> None:
    assert written["attention"].answer["order"] == list(NAMES)
    assert NAMES[0] == "428 Heart failure"
