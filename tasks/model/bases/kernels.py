"""What a GPU computes by kernels of its own: attention of packed documents, and fused layers.

torch brings FlashAttention's kernels for documents of any lengths that lie one after another
(Dao 2023, arXiv 2307.08691): no mask is made, and nothing is computed between documents. They take
half precision. Liger's kernels (Hsu et al. 2024, arXiv 2410.10989), if the package is installed,
pass once over what norms, rotary positions and gated layers pass over several times. Its rotary
positions replace a function of transformers, for this process, which trains on a GPU.

On a CPU, attention a document at a time was slower than a mask over rows of 256 tokens.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import varlen
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import flash_attention_mask

_NAME = "clinfuse_variable_length"  # of the attention, among those of transformers
_BEFORE = "_attention_before"  # a model's attribute: the attention that it had
_CAPABILITY = (8, 0)  # of a GPU for which torch has these kernels: A100


def use_kernels(model: PreTrainedModel, device: torch.device) -> None:
    """Have a GPU's own kernels compute the model's layers, as far as they know its architecture."""
    if device.type != "cuda":
        return
    with suppress(ImportError):
        from liger_kernel.transformers.monkey_patch import _apply_liger_kernel_to_instance

        # not the loss: it is computed in the output layer (losses.py), adapters and all
        _apply_liger_kernel_to_instance(
            model=model, cross_entropy=False, fused_linear_cross_entropy=False
        )
    half = model.dtype in (torch.bfloat16, torch.float16)
    if half and torch.cuda.get_device_capability(device) >= _CAPABILITY:
        attend_by_kernels(model)


def attend_by_kernels(model: PreTrainedModel) -> None:
    """Tell the model where documents begin and end, if its architecture's attention can be set."""
    before = model.config._attn_implementation
    with suppress(ValueError, ImportError):
        model.set_attn_implementation(_NAME)
        model.__dict__[_BEFORE] = before


def attends_by_kernels(model: nn.Module) -> bool:
    """Whether documents are told to the model by their borders, not by a mask."""
    inner = _language_model(model)
    return inner is not None and inner.config._attn_implementation == _NAME


def attend_by_mask(model: nn.Module) -> None:
    """Undo it, where the architecture asks for what the kernels do not compute."""
    inner = _language_model(model)
    assert inner is not None
    inner.set_attn_implementation(vars(inner).pop(_BEFORE))


def documents_of(position_ids: Tensor) -> dict[str, Any]:
    """The arguments, as transformers names them, that tell a model where documents begin and end.

    Args:
        position_ids: [1, tokens], which start again at 0 with each document.
    """
    begins = (position_ids[0] == 0).nonzero()[:, 0]
    ends = torch.tensor([position_ids.shape[1]], device=position_ids.device)
    borders = torch.cat([begins, ends]).to(torch.int32)
    longest = int(borders.diff().max())
    return {
        "cu_seq_lens_q": borders,
        "cu_seq_lens_k": borders,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def _language_model(model: nn.Module) -> PreTrainedModel | None:
    return next((part for part in model.modules() if isinstance(part, PreTrainedModel)), None)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention [rows, tokens, heads, width] of query, key, value.

    These are [rows, heads, tokens, width].

    Where no documents are told, each row is one. Raises ValueError where an architecture asks for
    what the kernels do not compute.
    """
    asked = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if asked or dropout or attention_mask is not None or is_causal is False:
        raise ValueError(f"no kernel for {', '.join(asked) or 'this attention'}")
    rows, _, length, _ = query.shape
    if cu_seq_lens_q is None or max_length_q is None:
        (of_query, longest), (of_key, longest_key) = _rows(query), _rows(key)
    else:
        of_query, longest = of_key, longest_key = cu_seq_lens_q, max_length_q
    flat, flat_key, flat_value = (
        tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value)
    )
    attended = varlen.varlen_attn(
        flat,
        flat_key,
        flat_value,
        of_query,
        of_key,
        longest,
        longest_key,
        scale=scaling,
        window_size=(sliding_window - 1 if sliding_window else -1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(attended, Tensor)
    return attended.view(rows, length, *attended.shape[1:]), None


def _rows(tensor: Tensor) -> tuple[Tensor, int]:
    """The borders of rows [rows, heads, tokens, width] that are laid one after another."""
    rows, _, length, _ = tensor.shape
    return torch.arange(rows + 1, dtype=torch.int32, device=tensor.device) * length, length


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, flash_attention_mask)
