"""Documents in one sequence do not see each other, and each token is scored as it should be."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.methods import Lora
from tasks.model.bases.causal import load_causal
from tasks.pretrain.objectives.causal import Packs, scored_tokens, token_losses
from tasks.pretrain.packing import PADDING, pack, pieces
from tests.pretrain.conftest import new_base

DOCUMENTS = [(1, [5, 6, 7, 8, 9]), (2, [10, 11]), (3, [12]), (4, [13, 14, 15, 16, 17, 18, 19])]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LlamaForCausalLM:
    """As it comes back from disk, which is how training sees it."""
    place = tmp_path_factory.mktemp("base")
    new_base(vocabulary=40, hidden_size=16).save_pretrained(place)
    model = load_causal(place).eval()
    assert isinstance(model, LlamaForCausalLM)
    return model


def alone(model: LlamaForCausalLM, ids: list[int]) -> torch.Tensor:
    """The losses of the tokens after the first, for this document by itself."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    return functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")


def test_packed_documents_read_as_if_alone(base: LlamaForCausalLM) -> None:
    (packed,) = pack(DOCUMENTS, 18, pad=0)
    packs = Packs.of([packed])
    with torch.no_grad():
        losses = token_losses(base, packs)
    expected = torch.cat([alone(base, ids.tolist()) for _, ids in pieces(packed) if len(ids) > 1])
    torch.testing.assert_close(losses[losses != 0], expected, rtol=0, atol=1e-5)
    assert len(expected) == scored_tokens(packed) == int(packs.scored.sum())


def test_a_token_changes_nothing_in_another_document(base: LlamaForCausalLM) -> None:
    first, second = ([(1, [start, 6, 7]), (2, [8, 9, 10, 11])] for start in (5, 30))
    losses = []
    for documents in (first, second):
        (packed,) = pack(documents, 8, pad=0)
        assert packed.subject_ids == [2, 1, PADDING], "the longer one comes first"
        with torch.no_grad():
            losses.append(token_losses(base, Packs.of([packed]))[0])
    assert not torch.equal(losses[0][4:6], losses[1][4:6])
    torch.testing.assert_close(losses[0][:4], losses[1][:4], rtol=0, atol=1e-6)


def test_perplexity_is_what_a_hand_computation_gives(base: LlamaForCausalLM) -> None:
    """Pieces with an overlap of one token: each document is read in windows of four tokens."""
    document = [5, 6, 7, 8, 9, 10]
    windows = [[5, 6, 7, 8], [8, 9, 10]]
    expected = math.exp(torch.cat([alone(base, ids) for ids in windows]).mean())
    packed = list(pack([(1, document)], 4, pad=0, overlap=1))
    with torch.no_grad():
        losses = token_losses(base, Packs.of(packed))
    scored = sum(scored_tokens(each) for each in packed)
    assert scored == len(document) - 1
    assert math.exp(losses.sum().item() / scored) == pytest.approx(expected, rel=1e-5)


def test_an_untrained_adapter_changes_nothing_and_can_be_set_aside(base: LlamaForCausalLM) -> None:
    packs = Packs.of(list(pack(DOCUMENTS, 18, pad=0)))
    with torch.no_grad():
        before = token_losses(base, packs)
        model = add_new_adapter(base, Lora(rank=2), "default").eval()
        assert torch.equal(token_losses(model, packs), before)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3)
        assert not torch.equal(token_losses(model, packs), before)
        with model.disable_adapter():
            assert torch.equal(token_losses(model, packs), before)
    model.unload()


def test_positions_start_again_and_padding_is_never_scored() -> None:
    packed = list(pack([(1, [5, 6, 7]), (2, [8, 9])], 7, pad=0))
    packs = Packs.of(packed)
    assert packs.position_ids.tolist() == [[0, 1, 2, 0, 1, 0, 1]]
    assert packs.scored.tolist() == [[False, True, True, False, True, False, False]]
    assert np.array_equal(packs.input_ids.numpy(), [[5, 6, 7, 8, 9, 0, 0]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Gema et al.: r=16 on q and v: 2 x 16 x (4096 + 4096) in each of 32 layers
        (Lora(rank=16, targets=("q_proj", "v_proj")), 8_388_608),
        (Lora(rank=8, targets=("q_proj", "v_proj")), 4_194_304),
        (Lora(rank=16, targets="all-linear"), 39_976_960),
    ],
)
def test_parameter_counts_of_the_paper(settings: Lora, expected: int) -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig())  # its defaults are the shape of LLaMA-7B
        adapted = add_new_adapter(model, settings, "default")
    assert isinstance(adapted, PeftModel)
    assert adapted.get_nb_trainable_parameters()[0] == expected


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    from tasks.errors import ModelError

    with pytest.raises(ModelError, match=r"no config\.json"):
        load_causal(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_causal(tmp_path)
