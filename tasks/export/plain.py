"""A model with adapters as a plain one, which computes the same; and heads without a scaling.

In evaluation an adapted layer is linear, whatever its method: what it makes of the unit vectors are
its weights. PEFT's own merging adds updates one after another, which of DoRA's is not the sum.
"""

from __future__ import annotations

import math

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tasks.errors import ModelError
from tasks.export.fused import Affine
from tasks.model.heads.heads import Heads
from tasks.model.heads.label_attention import LabelAttentionHead
from tasks.model.heads.linear import LinearHead

_NOT_YET = "a {} with {} pooling cannot be exported yet; take finetune.head: linear"
_ROWS = 1024  # unit vectors that a layer is given at once


@torch.no_grad()
def take_adapters_in(model: PreTrainedModel) -> None:
    """Put the updates of a model's active adapters into its weights, in float32 and in place.

    Raises ModelError where one is on a layer that is neither linear nor an embedding.
    """
    adapted = {
        path: layer for path, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)
    }
    for path, layer in adapted.items():
        base = layer.get_base_layer()
        assert isinstance(layer, nn.Module)
        match base:
            case nn.Linear() | Conv1D():
                bias, weight = _of_unit_vectors(layer, base)
                base.weight.data = weight if isinstance(base, Conv1D) else weight.T.contiguous()
                if base.bias is not None:
                    base.bias.data = bias
                elif bias.any():
                    raise ModelError(
                        f"an adapter adds a bias to {path}, where the base has none, so that it "
                        "cannot be merged; take adapters/"
                    )
            case nn.Embedding():
                rows = torch.arange(base.num_embeddings, device=base.weight.device)
                base.weight.data = torch.cat([layer(part) for part in torch.split(rows, _ROWS)])
            case _:
                raise ModelError(
                    f"an adapter is on {path}, a {type(base).__name__}, into which it cannot be "
                    "merged; take adapters/"
                )
    for path, layer in adapted.items():
        model.set_submodule(path, layer.get_base_layer())


def _of_unit_vectors(layer: nn.Module, base: nn.Module) -> tuple[Tensor, Tensor]:
    """What the layer makes of 0 [out], and what of each unit vector beyond that [in, out]."""
    weight = base.weight
    assert isinstance(weight, Tensor)
    width = weight.shape[0 if isinstance(base, Conv1D) else 1]
    bias = layer(torch.zeros(1, width, device=weight.device))[0]
    units = torch.eye(width, device=weight.device)
    return bias, torch.cat([layer(part) - bias for part in torch.split(units, _ROWS)])


def head_weights(heads: Heads, outcome: str) -> dict[str, Tensor]:
    """The head's tensors, by the names that `modeling.py` gives them, for states as the trunk's.

    The scaling (h - m) M is multiplied into the weights: w . (h - m) M = M w . h - M w . m. Of a
    maximum it has to come before.
    """
    matrix, mean = heads.scaling.affine()
    head = heads.head(outcome)
    bias = head.bias.detach().double()
    match head:
        case LabelAttentionHead():
            weight = head.weight.detach().double() @ matrix.T
            # what is the same for all tokens is nothing to their shares
            query = head.queries().detach().double() @ matrix.T / math.sqrt(len(mean))
            tensors = {"query": query, "weight": weight, "bias": bias - weight @ mean}
        case LinearHead() if type(head) is not LinearHead or head.pool == "attention":
            raise ModelError(_NOT_YET.format(type(head).__name__, head.pool))
        case LinearHead(pool="max"):
            tensors = {
                "scaling.weight": matrix.T,
                "scaling.bias": -mean @ matrix,
                "output.weight": head.weight.detach(),
                "output.bias": bias,
            }
        case LinearHead():
            weight = head.weight.detach().double() @ matrix.T
            tensors = {"output.weight": weight, "output.bias": bias - weight @ mean}
        case _:
            raise ModelError(_NOT_YET.format(type(head).__name__, getattr(head, "pool", "no")))
    return {name: tensor.float().contiguous() for name, tensor in tensors.items()}


def affine(heads: Heads, outcome: str) -> Affine | None:
    """The head as weights of the last token's state; None: it is not that."""
    head = heads.head(outcome)
    if type(head) is not LinearHead or head.pool != "last":
        return None
    tensors = head_weights(heads, outcome)
    return Affine(tensors["output.weight"], tensors["output.bias"])
