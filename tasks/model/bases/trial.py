"""What training takes for granted in a base, tried on it before the first step.

- It reads from left to right, so that padding on the right reaches no token without a mask.
- Its part before the output layer gives token states, of which the classifier is made.
- The loss can be computed in its output layer, because nothing is made of the logits after that.
- Documents packed into one sequence do not see each other. transformers keeps them apart by their
  positions, which start again at 0, in most architectures; where not, they are not packed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.errors import ModelError
from tasks.model.bases.causal import packed_logits, trunk
from tasks.model.bases.losses import computing, giving_losses

PACKED = "packed"
LONGEST = 256  # tokens of a trial's rows: enough to see an attention window or a convolution
# largest difference, as a share of the spread, that is put down to rounding; a document that sees
# another differed by a fifth of it and more (29 architectures), one that does not by 0
ROUNDING = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 1e-2}
_CANNOT = (TypeError, ValueError, RuntimeError, LookupError)  # what a base that does not fit raises
_FIRST_TOKEN, _TOKENS = 3, 500  # ids of ordinary text, in any vocabulary


@torch.no_grad()
def layout_for(
    model: nn.Module, base: PreTrainedModel, length: int, *, may_pack: bool = True
) -> str:
    """PACKED where the base reads packed documents as if each were alone; otherwise why not.

    Args:
        model: what is called, in evaluation mode: the base, or what wraps it (adapters, DeepSpeed).
        base: the language model in it.
        length: tokens of a sequence that will be packed.
        may_pack: whether the adapters leave that open.

    Raises ModelError where the base does not read from left to right, gives no token states, or
    cannot be run.
    """
    half = max(2, min(length, LONGEST) // 2)
    rows = _rows(half, base)
    try:
        states = trunk(base)(input_ids=rows, use_cache=False).last_hidden_state
        plain = model(input_ids=rows, use_cache=False).logits
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
        raise ModelError(
            f"a {type(base).__name__} cannot be run as a plain language model with these adapters "
            f"({type(error).__name__}); take another base or other adapter.targets"
        ) from error
    if not bool(torch.isfinite(plain).all()):
        raise ModelError("the base's logits are NaN or infinite; load it in another precision")
    if _differ(states[1, :half], states[2, :half]):
        raise ModelError(
            f"in a {type(base).__name__} a token sees those after it; only causal language models, "
            "which read from left to right, can be adapted"
        )
    if not may_pack:
        return "one document a row: virtual tokens stand before each"
    positions = torch.arange(half, device=rows.device).repeat(3, 2)
    try:
        packed = packed_logits(model, rows, positions)
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        return f"one document a row: the base takes no positions ({type(error).__name__})"
    if leak := _differ(packed[0, half:], plain[1, :half]):
        return (
            "one document a row: documents in one sequence see each other (logits differ by "
            f"{leak:.2g} of their spread)"
        )
    return PACKED


@torch.no_grad()
def output_that_gives_losses(model: nn.Module, base: PreTrainedModel) -> nn.Linear | None:
    """The base's output layer, where the loss may be computed in it; otherwise None.

    Not where an adapter is on it whose update is not added to its weights, where its weights are
    trained and ranks hold a part of them, or where something is made of the logits after it (a
    bound, a scale), which the loss would miss.

    Args:
        model, base: as `layout_for` takes them.
    """
    output = base.get_output_embeddings()  # type: ignore[no-untyped-call]
    adds = getattr(output, "adds_weights", None)  # adapters' layers
    if not (adds(math.inf, learning=True) if adds else type(output) is nn.Linear):
        return None
    if hasattr(output.weight, "ds_id") and output.weight.requires_grad:
        return None
    if not logits_are_as_given(model, base, output):
        return None
    rows = _rows(8, base)
    try:
        with giving_losses(output, rows):
            loss = model(input_ids=rows, use_cache=False).logits
    except _CANNOT:
        return None
    return output if loss.dim() == 0 else None


@torch.no_grad()
def logits_are_as_given(model: nn.Module, base: PreTrainedModel, output: nn.Module) -> bool:
    """Whether the model's logits are what its output layer gives, and nothing is made of them.

    Args:
        model, base: as `layout_for` takes them.
        output: the base's output layer.
    """
    width, weight = getattr(output, "out_features", None), getattr(output, "weight", None)
    if width is None or weight is None:
        return False
    rows = _rows(8, base)
    probe = torch.linspace(-1000, 1000, width, device=rows.device).to(weight.dtype)
    try:
        with computing(output, lambda states: probe.expand(*states.shape[:-1], -1)):
            logits = model(input_ids=rows, use_cache=False).logits
    except _CANNOT:
        return False
    return torch.equal(logits, probe.to(logits.dtype).expand_as(logits))


def _rows(half: int, base: PreTrainedModel) -> Tensor:
    """Token ids [3, 2 * half] of documents a, b, c: a before b, b before a, b before c.

    b begins two rows, where it is alone as far as it can see, and comes second in the other.
    """
    generator = torch.Generator().manual_seed(0)
    known = min(base.config.get_text_config().vocab_size, _TOKENS)
    a, b, c = torch.randint(_FIRST_TOKEN, known, (3, half), generator=generator)
    return torch.stack([torch.cat(pair) for pair in ((a, b), (b, a), (b, c))]).to(base.device)


def _differ(states: Tensor, expected: Tensor) -> float:
    """How far two results differ, as a share of the spread; 0 where that may be rounding."""
    spread = (expected.float() - expected.float().mean()).norm()
    share = ((states.float() - expected.float()).norm() / spread).item()
    return share if share > ROUNDING[states.dtype] else 0.0
