"""A model with adapters as a plain one, which computes the same; and a head's tensors.

In evaluation an adapted layer is linear, whatever its method: what it makes of the unit vectors are
its weights. PEFT's own merging adds updates one after another, which of DoRA's is not the sum.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tasks.errors import ModelError
from tasks.export.fused import Affine
from tasks.model.heads.heads import Heads
from tasks.model.heads.label_attention import TiedLabelAttentionHead
from tasks.model.heads.linear import LinearHead

_ROWS = 1024  # unit vectors that a layer is given at once


@torch.no_grad()
def take_adapters_in(model: PreTrainedModel) -> None:
    """Put the updates of a model's active adapters into its weights, in float32 and in place.

    Raises ModelError where one is on a layer that is neither linear nor an embedding.
    """
    adapted = {
        path: layer for path, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)
    }
    behind = {}  # small networks, which are not linear, and stay where they are
    for path, layer in adapted.items():
        base = layer.get_base_layer()
        assert isinstance(layer, nn.Module)
        behind[path], layer._forward_hooks = layer._forward_hooks, OrderedDict()
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
        layer.get_base_layer()._forward_hooks.update(behind[path])
        model.set_submodule(path, layer.get_base_layer())


def _of_unit_vectors(layer: nn.Module, base: nn.Module) -> tuple[Tensor, Tensor]:
    """What the layer makes of 0 [out], and what of each unit vector beyond that [in, out]."""
    weight = base.weight
    assert isinstance(weight, Tensor)
    width = weight.shape[0 if isinstance(base, Conv1D) else 1]
    bias = layer(torch.zeros(1, width, device=weight.device))[0]
    units = torch.eye(width, device=weight.device)
    return bias, torch.cat([layer(part) - bias for part in torch.split(units, _ROWS)])


def head_tensors(heads: Heads, outcome: str) -> dict[str, Tensor]:
    """The tensors of a head that is saved as a plain one: tied queries as they came out."""
    head = heads.head(outcome)
    tensors = {"bias": head.bias, **head.state_dict()}  # one that is no parameter is not saved
    if isinstance(head, TiedLabelAttentionHead):
        tensors = {"query": head.queries(), "weight": head.weight, "bias": head.bias}
    return {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}


def affine(heads: Heads, outcome: str) -> Affine | None:
    """The head as weights of the last token's state; None: it is not that.

    The scaling (h - m) M is multiplied into the weights: w . (h - m) M = M w . h - M w . m.
    """
    head = heads.head(outcome)
    if type(head) is not LinearHead or head.pool != "last":
        return None
    matrix, mean = heads.scaling.affine()
    weight = head.weight.detach().double() @ matrix.T
    bias = head.bias.detach().double() - weight @ mean
    return Affine(weight.float().contiguous(), bias.float())
