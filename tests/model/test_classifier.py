"""The fusion is real: both adapters act, the right one learns, and nothing is lost on disk."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tasks.errors import ModelError
from tasks.model.adapters.build import add_new_adapter, language_model
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.fusions import Fusion
from tasks.model.adapters.methods import TASK, Dora, Lora
from tasks.model.adapters.parts import parameters_of
from tasks.model.bases.causal import Causal, take_head_off, trunk
from tasks.model.bases.load import load_base
from tasks.model.classifier import Classifier, Summand, load_classifier, new_classifier
from tasks.model.heads.config import HeadShape, LabelAttentionConfig, LinearConfig
from tasks.model.heads.losses import masked_bce

CLINICAL = "clinical"
SHAPES = [
    HeadShape(
        outcome="diagnoses",
        head=LabelAttentionConfig(),
        hidden=16,
        labels=(("icd10cm", "I10"), ("icd9cm", "401")),
    ),
    HeadShape(
        outcome="mortality",
        head=LinearConfig(pool="mean"),
        hidden=16,
        labels=(("mortality", "died"),),
    ),
]
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 0, 0, 0]])
PRESENT = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])


def tiny_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config()).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def clinical(base: Path, tmp_path: Path) -> Path:
    """A clinical adapter as pretraining leaves it: on a causal LM, with PEFT's own writer."""
    causal = AutoModelForCausalLM.from_pretrained(base)
    peft = add_new_adapter(causal, Lora(rank=4, alpha=8, dropout=0.5), "default")
    torch.manual_seed(1)
    for name, parameter in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    peft.save_pretrained(str(tmp_path / "clinical"))
    return tmp_path / "clinical"


def beside(*paths: Path, fusion: Fusion = "frozen") -> list[Summand]:
    """The summands: the clinical adapter first."""
    names = (CLINICAL, "ontology")
    return [Summand(name, path, fusion) for name, path in zip(names, paths, strict=False)]


def build(base: Path, *summands: Path, fusion: Fusion = "frozen") -> Classifier:
    torch.manual_seed(2)
    model = new_classifier(load_base(base), Lora(rank=2, alpha=4), beside(*summands, fusion=fusion))
    model.add_heads(SHAPES)
    return model


def trained_names(model: Classifier) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def train(model: Classifier, steps: int = 3) -> None:
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    for _ in range(steps):
        logits = torch.cat(list(model(IDS, PRESENT).values()), dim=1)
        truth = torch.tensor([[True, False, True], [False, True, False]])
        masked_bce(logits, truth, torch.ones_like(truth)).backward()
        optimizer.step()
        optimizer.zero_grad()


def logits_of(model: Classifier) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat(list(model(IDS, PRESENT).values()), dim=1)


def test_states_equal_a_forward_with_the_sum_of_both_updates_in_the_weights(
    base: Path, clinical: Path
) -> None:
    model = build(base, clinical)
    train(model)
    merged = copy.deepcopy(model.backbone).merge_and_unload(adapter_names=[CLINICAL, TASK])
    with torch.no_grad():
        expected = trunk(merged)(IDS).last_hidden_state
        torch.testing.assert_close(
            model.eval().states(IDS, PRESENT), expected, atol=1e-5, rtol=1e-5
        )


def test_adapters_on_the_embedding_act_train_and_come_back(base: Path, tmp_path: Path) -> None:
    lora = Lora(rank=2, alpha=4, targets=("q_proj", "embed_tokens", "lm_head"))
    causal = add_new_adapter(AutoModelForCausalLM.from_pretrained(base), lora, "default")
    for name, parameter in causal.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    write_adapter(tmp_path / "clinical", causal, "default")
    lora = Lora(rank=2, alpha=4, targets=("q_proj", "embed_tokens"))
    model = new_classifier(load_base(base), lora, beside(tmp_path / "clinical"))
    model.add_heads(SHAPES)
    train(model)
    whole = logits_of(model)
    assert len([name for name in trained_names(model) if "lora_embedding_" in name]) == 2
    for adapter in (CLINICAL, TASK):
        with model.without(adapter):
            assert ((logits_of(model) - whole).abs().amax(dim=0) > 1e-4).all()
    model.save(tmp_path / "arm")
    again = load_classifier(load_base(base), tmp_path / "arm", beside(tmp_path / "clinical"))
    assert torch.equal(logits_of(again), whole)


@pytest.mark.parametrize("adapter", [CLINICAL, TASK])
def test_zeroing_either_adapter_changes_every_outcome_and_is_undone(
    base: Path, clinical: Path, adapter: str
) -> None:
    model = build(base, clinical)
    train(model)
    whole = logits_of(model)
    with model.without(adapter):
        changed = (logits_of(model) - whole).abs().amax(dim=0)
    assert (changed > 1e-4).all()
    assert torch.equal(logits_of(model), whole)


def test_training_leaves_base_and_frozen_clinical_adapter_bit_identical(
    base: Path, clinical: Path
) -> None:
    model = build(base, clinical)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(trained_names(model))
    assert not any(f".{CLINICAL}." in name for name in moved)
    assert any(f".{TASK}." in name for name in moved)


def test_a_frozen_clinical_adapter_has_no_dropout_in_training(base: Path, clinical: Path) -> None:
    model = build(base, clinical).train()
    assert torch.equal(model.states(IDS, PRESENT), model.states(IDS, PRESENT))
    noisy = build(base, clinical, fusion="trained").train()
    assert not torch.equal(noisy.states(IDS, PRESENT), noisy.states(IDS, PRESENT))


def test_a_trainable_clinical_adapter_is_trained_and_saved_as_a_copy(
    base: Path, clinical: Path, tmp_path: Path
) -> None:
    original = (clinical / "adapter_model.safetensors").read_bytes()
    model = build(base, clinical, fusion="trained")
    untrained = logits_of(build(base, clinical))
    train(model)
    model.save(tmp_path / "arm")
    assert (clinical / "adapter_model.safetensors").read_bytes() == original
    loaded = load_classifier(load_base(base), tmp_path / "arm", beside(clinical))
    assert torch.equal(logits_of(loaded), logits_of(model))
    assert not torch.equal(logits_of(loaded), untrained)


@pytest.mark.parametrize("fused", [True, False])
def test_saved_and_loaded_gives_the_same_logits_labels_and_bytes(
    base: Path, clinical: Path, tmp_path: Path, fused: bool
) -> None:
    summands = [clinical] if fused else []
    model = build(base, *summands)
    train(model)
    model.save(tmp_path / "one")
    loaded = load_classifier(load_base(base), tmp_path / "one", beside(*summands))
    assert torch.equal(logits_of(loaded), logits_of(model))
    assert loaded.shapes == model.shapes
    loaded.save(tmp_path / "two")
    for file in ("adapter_model.safetensors", "head.safetensors", "head.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_task_adapter_is_a_plain_peft_directory_without_this_machine_in_it(
    base: Path, clinical: Path, tmp_path: Path
) -> None:
    model = build(base, clinical)
    train(model)
    model.save(tmp_path / "arm")
    plain = PeftModel.from_pretrained(load_base(base).model, tmp_path / "arm").eval()
    with model.eval().without(CLINICAL), torch.no_grad():
        expected = model.states(IDS, PRESENT)
        torch.testing.assert_close(trunk(language_model(plain))(IDS).last_hidden_state, expected)
    config = json.loads((tmp_path / "arm" / "adapter_config.json").read_text())
    assert str(tmp_path) not in json.dumps(config)
    assert config["target_modules"] == sorted(config["target_modules"])


def test_three_summands_are_added_in_order_and_each_can_be_left_out(
    base: Path, clinical: Path, tmp_path: Path
) -> None:
    """Nothing knows how many there are."""
    other = add_new_adapter(
        AutoModelForCausalLM.from_pretrained(base), Lora(rank=3, targets=("v_proj",)), "default"
    )
    for name in parameters_of(other)["default"]:
        torch.nn.init.normal_(other.get_parameter(name), std=0.3)
    write_adapter(tmp_path / "ontology", other, "default")
    model = build(base, clinical, tmp_path / "ontology")
    train(model)
    whole = logits_of(model)
    assert model.adapters == (CLINICAL, "ontology", TASK)
    for adapter in model.adapters:
        with model.without(adapter):
            assert not torch.allclose(logits_of(model), whole, atol=1e-4), adapter
    merged = copy.deepcopy(model.backbone).merge_and_unload(adapter_names=list(model.adapters))
    with torch.no_grad():
        expected = trunk(merged)(IDS).last_hidden_state
        torch.testing.assert_close(model.states(IDS, PRESENT), expected, atol=1e-5, rtol=1e-5)


def test_another_method_trains_is_saved_and_comes_back(
    base: Path, clinical: Path, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    model = new_classifier(load_base(base), Dora(rank=2, alpha=4), beside(clinical))
    model.add_heads(SHAPES)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for names in model.trained_parts().values() for name in names}
    assert any("magnitude" in name for name in moved)
    model.save(tmp_path / "member")
    again = load_classifier(load_base(base), tmp_path / "member", beside(clinical))
    torch.testing.assert_close(logits_of(again), logits_of(model))


def test_whose_parameter_a_tensor_is_does_not_follow_from_its_name(base: Path) -> None:
    """A layer of the base may be called as an adapter's part is."""
    model = build(base)
    model.backbone.lora_A = torch.nn.ModuleDict({TASK: torch.nn.Linear(2, 2)})
    assert not any("backbone.lora_A" in name for name in parameters_of(model)[TASK])


def test_an_outcome_may_have_the_name_of_an_adapter(base: Path) -> None:
    model = build(base)
    model.add_heads([SHAPES[0].model_copy(update={"outcome": TASK})])
    names = [name for names in model.trained_parts().values() for name in names]
    assert sorted(names) == sorted(trained_names(model))
    assert set(model.rates(1.0)) == set(names)


def test_padding_changes_no_logit(base: Path, clinical: Path) -> None:
    model = build(base, clinical)
    train(model)
    model.eval()
    with torch.no_grad():
        alone = torch.cat(list(model(IDS[1:, :3], PRESENT[1:, :3]).values()), dim=1)
    torch.testing.assert_close(alone, logits_of(model)[1:], atol=1e-5, rtol=1e-5)


def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    config = tiny_config()
    config.hidden_size, config.intermediate_size = 32, 48
    other = add_new_adapter(LlamaForCausalLM(config), Lora(rank=4), "default")
    torch.nn.init.ones_(next(p for n, p in other.named_parameters() if "lora_B" in n))
    write_adapter(tmp_path / "other", other, "default")
    with pytest.raises(ModelError, match="do not fit the base model"):
        build(base, tmp_path / "other")
    with pytest.raises(ModelError, match="not a readable PEFT adapter"):
        build(base, tmp_path / "nowhere")


@pytest.mark.parametrize(("rank", "parameters"), [(16, 8_388_608), (4, 2_097_152)])
def test_parameter_counts_of_the_paper(rank: int, parameters: int) -> None:
    """LoRA on q and v of LLaMA-7B: 32 layers * 2 * 2 * 4096 * rank (Gema et al., Table 2)."""
    config = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
    )
    with torch.device("meta"):
        backbone = take_head_off(LlamaForCausalLM(config))
        lora = Lora(rank=rank, targets=("q_proj", "v_proj"))
        model = new_classifier(Causal(backbone), lora, [])
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters
