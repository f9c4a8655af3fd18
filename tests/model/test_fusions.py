"""Every way for an adapter to take part, with every pair of methods: it works, or is refused."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tasks.errors import ConfigError, ModelError
from tasks.model.adapters.adaptation import Adaptation
from tasks.model.adapters.allows import ALLOWS, OF_TASKS
from tasks.model.adapters.fusions import (
    Fusion,
    check_fusion,
    check_merges,
    order_matters,
    verdict,
)
from tasks.model.adapters.gates import gates_of
from tasks.model.adapters.methods import TASK, UNNAMED, Lora, TaskMethod
from tasks.model.adapters.parts import activate
from tasks.model.bases.load import load_base
from tasks.model.classifier import Classifier, load_classifier, new_classifier
from tasks.model.trunk import Summand, freeze
from tasks.variants import Merge
from tests.model.test_classifier import (
    IDS,
    PRESENT,
    SHAPES,
    base,
    build,
    clinical,
    logits_of,
    train,
)
from tests.model.test_methods import SMALLEST, method_of

__all__ = ["base", "clinical"]  # fixtures

CLINICAL = "clinical"
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
TASKS = [kind for kind in ALLOWS | OF_TASKS if kind not in ("adaption_prompt", "insert_blocks")]
CELLS = list(product(ALLOWS, FUSIONS, [*TASKS, None]))


def made(base: Path, given: dict[str, Any], folder: Path) -> Path:
    """What pretraining by a method leaves, its update not zero."""
    causal = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(1)
    adapted = Adaptation.of(causal, method_of(given), 3, "pretrain.adapter.targets")
    names = [name for part in adapted.parts(adapted.model).values() for name in part]
    for name in names:
        parameter = adapted.model.get_parameter(name)
        torch.nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.2)
    state = {name: adapted.model.get_parameter(name) for name in names}
    adapted.write(folder, state, UNNAMED)
    return folder


@pytest.fixture(scope="module")
def summands(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A base, and what each method made on it."""
    from transformers import LlamaForCausalLM

    from tests.model.test_classifier import tiny_config

    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config()).save_pretrained(folder / "base")
    allowed = {
        domain for domain, fusion, task in CELLS if not verdict(domain, fusion, task).refused
    }
    paths = {
        kind: made(folder / "base", SMALLEST.get(kind, small(kind)), folder / kind)
        for kind in allowed
    }
    return folder / "base", paths


@pytest.mark.parametrize(("domain", "fusion", "task"), CELLS)
def test_each_cell_of_the_table_works_or_is_refused_with_a_reason(
    summands: tuple[Path, dict[str, Path]],
    tmp_path: Path,
    domain: str,
    fusion: Fusion,
    task: str | None,
) -> None:
    methods = {"pretrain.adapter": domain} | ({"finetune.adapter": task} if task else {})
    found = verdict(domain, fusion, task)
    if found.refused:
        with pytest.raises(ConfigError, match=f"pretrain.adapter is {domain}, .* take lora"):
            check_fusion("pretrain.adapter", methods, fusion, (1,), "fused")
        return
    check_fusion("pretrain.adapter", methods, fusion, (1,), "fused")
    if not tells(domain, fusion, task):
        return
    base, paths = summands
    summand, before = Summand(CLINICAL, paths[domain], fusion), contents(paths[domain])
    plain = load_base(base).states(IDS, PRESENT)
    if task is None:
        changed = freeze(load_base(base), [summand]).states(IDS, PRESENT)
        assert (changed - plain).abs().max() > 1e-3
        return
    torch.manual_seed(2)
    method: TaskMethod = TypeAdapter(TaskMethod).validate_python(small(task))
    model = new_classifier(load_base(base), method, [summand])
    model.add_heads(SHAPES)
    with torch.no_grad():
        assert (model.eval().states(IDS, PRESENT) - plain).abs().max() > 1e-3, "it does not act"
    began = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, began[name])}
    assert moved == {name for names in model.trained_parts().values() for name in names}
    assert any(name in moved for name in model.trained_parts()[TASK])
    assert contents(paths[domain]) == before, "what is shared has changed on disk"
    whole = logits_of(model)
    model.save(tmp_path)
    again = load_classifier(load_base(base), tmp_path, [summand])
    torch.testing.assert_close(logits_of(again), whole, atol=1e-5, rtol=1e-5)
    with again.without(TASK):
        assert (logits_of(again) - whole).abs().max() > 1e-4, "the task adapter does not act"


def tells(domain: str, fusion: Fusion, task: str | None) -> bool:
    """Whether a cell is not the same as another one to what is built for it.

    What learns on a merged base does not know what was merged; what is continued, no task's method.
    """
    match fusion:
        case "merged":
            return "lora" in (domain, task) or task is None
        case "continued":
            return task == "lora"
    return "lora" in (domain, task) or domain == task or task is None


def small(kind: str) -> dict[str, Any]:
    return {"kind": kind} | ({"rank": 2} if kind in ("lora", "dora") else {})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("weight", [1.0, 0.5, -1.2])
def test_what_is_merged_first_acts_as_what_is_beside(
    base: Path, clinical: Path, weight: float
) -> None:
    stacked, merged = (
        new_classifier(
            load_base(base), Lora(rank=2, alpha=4), [Summand(CLINICAL, clinical, fusion, weight)]
        )
        for fusion in FUSIONS
        if fusion in ("frozen", "merged")
    )
    stacked.add_heads(SHAPES)
    merged.add_heads(SHAPES)
    started = dict(stacked.named_parameters())
    with torch.no_grad():
        for name, parameter in merged.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(started[name])
    for model in (stacked, merged):
        train(model)
    torch.testing.assert_close(logits_of(stacked), logits_of(merged), atol=1e-5, rtol=1e-5)
    in_training = training_logits(stacked), training_logits(merged)
    torch.testing.assert_close(*in_training, atol=1e-5, rtol=1e-5)


def training_logits(model: Classifier) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(list(model.train()(IDS, PRESENT).values()), dim=1)


def test_a_gate_starts_at_the_weight_learns_for_each_layer_and_comes_back(
    base: Path, clinical: Path, tmp_path: Path
) -> None:
    fixed, gated = (
        new_classifier(load_base(base), Lora(), [Summand(CLINICAL, clinical, fusion, 0.5)])
        for fusion in FUSIONS
        if fusion in ("frozen", "gated")
    )
    for model in (gated, fixed):
        torch.manual_seed(3)
        model.add_heads(SHAPES)
    assert torch.equal(logits_of(gated), logits_of(fixed))
    gates = gates_of(gated)
    assert len(gates) == 14, "seven linear layers in each of two blocks"
    train(gated)
    values = [round(gate.item(), 4) for gate in gates.values()]
    assert len(set(values)) > 2, "each layer's goes its own way"
    assert sorted(gated.trained_parts()["gates"]) == sorted(gates)
    gated.save(tmp_path)
    again = load_classifier(load_base(base), tmp_path, [Summand(CLINICAL, clinical, "gated", 0.5)])
    assert torch.equal(logits_of(again), logits_of(gated))
    (tmp_path / "gates.safetensors").unlink()
    with pytest.raises(ModelError, match=r"gates\.safetensors does not fit"):
        load_classifier(load_base(base), tmp_path, [Summand(CLINICAL, clinical, "gated")])


def test_what_is_continued_is_the_task_adapter_and_starts_as_what_was_made(
    base: Path, clinical: Path, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    summand = Summand(CLINICAL, clinical, "continued")
    model = new_classifier(load_base(base), Lora(rank=1), [summand])
    assert model.adapters == (TASK,)
    started = model.eval().states(IDS, PRESENT)
    frozen = build(base, clinical)  # a new task adapter changes nothing yet
    torch.testing.assert_close(started, frozen.eval().states(IDS, PRESENT))
    model.add_heads(SHAPES)
    train(model)
    model.save(tmp_path)
    made, learned = (load_file(p / "adapter_model.safetensors") for p in (clinical, tmp_path))
    assert made.keys() == learned.keys()
    assert not any(torch.equal(made[name], learned[name]) for name in made)


@pytest.mark.parametrize("by", get_args(Merge))
@pytest.mark.parametrize("rslora", [True, False])
def test_adapters_made_into_one_act_alone_and_then_apart_again(
    base: Path, tmp_path: Path, by: Merge, rslora: bool
) -> None:
    lora = {
        "kind": "lora",
        "rank": 4,
        "alpha": 8,
        "rslora": rslora,
        "targets": ["q_proj", "up_proj"],
    }
    clinical = made(base, lora, tmp_path / "clinical")
    torch.manual_seed(2)
    summand = Summand(CLINICAL, clinical, weight=0.5)
    model = new_classifier(load_base(base), Lora(rank=4, alpha=4), [summand])
    model.add_heads(SHAPES)
    train(model)
    whole, adapters = logits_of(model), list(model.backbone.peft_config)
    with model.merged(by):
        as_one, active = logits_of(model), list(model.backbone.active_adapters)
    assert active == [f"merged-by-{by}"]
    apart = (as_one - whole).abs().max().item()
    assert apart < 1e-5 if by == "cat" else 1e-5 < apart < whole.abs().max() * 3
    assert torch.equal(logits_of(model), whole)
    assert list(model.backbone.peft_config) == adapters


def test_factors_of_other_ranks_are_not_added(base: Path, clinical: Path) -> None:
    model = build(base, clinical)  # of ranks 4 and 2
    refusal = r"ranks \[4, 2\] cannot be merged by ties, .* by cat or svd"
    with pytest.raises(ModelError, match=refusal), model.merged("ties"):
        pass
    with model.merged("svd"):
        assert model.backbone.peft_config["merged-by-svd"].r == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "task", "fusion", "weights", "sentence"),
    [
        *((kind, "lora", "frozen", (1,), "makes no update") for kind in ("prefix", "p_tuning")),
        ("adaption_prompt", None, "frozen", (1,), "makes no update of weights"),
        ("full", "lora", "frozen", (1,), r"makes a whole model, .* \(fusion: merged\)"),
        ("full", "lora", "merged", (1,), None),
        ("full", "lora", "merged", (0.5,), "can be added once or not at all"),
        ("ia3", "lora", "frozen", (1,), "stands beside lora, and PEFT adds no updates"),
        ("ia3", "lora", "merged", (1,), None),
        ("vera", None, "frozen", (0, 0.5, 1), "once or not at all, .* set weight: 1 for it"),
        ("vera", None, "frozen", (0, 1), None),
        ("adalora", None, "frozen", (0, 0.5, 1), None),
        ("adalora", "dora", "frozen", (1,), "stands beside dora"),
        ("adalora", "lora", "continued", (1,), "cannot learn on: its ranks"),
        ("pissa", "lora", "gated", (0.5,), None),
        ("ia3", "ia3", "gated", (1,), "has no scale that could be learned"),
        ("lora", "lora", "continued", (0.5,), "can be added once or not at all"),
        ("dora", "lora", "frozen", (1,), None),
    ],
)
def test_what_cannot_be_added_up_is_refused(
    kind: str, task: str | None, fusion: Fusion, weights: tuple[float, ...], sentence: str | None
) -> None:
    methods = {"pretrain.adapter": kind} | ({"finetune.adapter": task} if task else {})
    if sentence is None:
        check_fusion("pretrain.adapter", methods, fusion, weights, "fused")
        return
    with pytest.raises(ConfigError, match=sentence):
        check_fusion("pretrain.adapter", methods, fusion, weights, "fused")


def test_two_summands_must_go_together_and_a_quantized_base_takes_no_merge() -> None:
    beside = {"pretrain.adapter": "lora", "pretrain.ontology.adapter": "ia3"}
    with pytest.raises(ConfigError, match="stands beside ia3"):
        check_fusion("pretrain.adapter", beside, "frozen", (1,), "fused")
    check_fusion("pretrain.adapter", beside, "merged", (1,), "fused")
    with pytest.raises(ConfigError, match="round it to the base's few bits"):
        check_fusion("pretrain.adapter", beside, "merged", (1,), "fused", quantized=True)


def test_what_cannot_become_one_adapter_is_refused_before_it_is_trained() -> None:
    lora, dora, pissa = (method_of({"kind": kind}) for kind in ("lora", "dora", "pissa"))
    with pytest.raises(ConfigError, match=r"finetune\.adapter is dora, which PEFT makes no part"):
        check_merges(("cat",), {"pretrain.adapter": lora, "finetune.adapter": dora}, "fused")
    unlike = {"pretrain.adapter": lora, "finetune.adapter": pissa}  # saved with twice the rank
    with pytest.raises(ConfigError, match=r"\(pretrain\.adapter 16, finetune\.adapter 32\); give"):
        check_merges(("ties",), unlike, "fused")
    check_merges(("cat", "svd"), unlike, "fused")
    check_merges(("linear",), {"pretrain.adapter": lora, "finetune.adapter": lora}, "fused")
    check_merges((), {"finetune.adapter": dora}, "fused")


@pytest.mark.parametrize(("domain", "task"), product(("lora", "dora", "pissa"), repeat=2))
def test_the_order_of_the_sum_is_marked_where_it_matters(
    summands: tuple[Path, dict[str, Path]], domain: str, task: str
) -> None:
    base, paths = summands
    torch.manual_seed(2)
    method: TaskMethod = TypeAdapter(TaskMethod).validate_python(small(task))
    model = new_classifier(load_base(base), method, [Summand(CLINICAL, paths[domain])])
    model.add_heads(SHAPES)
    train(model)
    assert model.adapters == (CLINICAL, TASK)
    in_order = logits_of(model)
    activate(model.backbone, model.backbone.active_adapters[::-1])
    same = torch.allclose(logits_of(model), in_order, atol=1e-4, rtol=1e-4)
    assert same == verdict(domain, "frozen", task).exact


def test_one_update_alone_has_no_order() -> None:
    assert verdict("dora", "merged", "lora").exact
    assert verdict("dora", "frozen", None).exact
    assert verdict("dora", "frozen", "bitfit").exact
    assert order_matters(("dora", "lora"))
    assert not order_matters(("dora", "full"))
    assert not order_matters(("dora",))
