"""What a member's training took: operations by formula (`tasks/training/flops.py`), time, size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.model.bases.encoder import Encoder
from tasks.model.classifier import Classifier
from tasks.model.heads.heads import Heads
from tasks.training.flops import attended_tokens, flops_per_token, shape_of
from tasks.training.loop import Trained


def flops_of_token(model: Heads, lengths: NDArray[np.int64]) -> float:
    """Operations of a token, forward and backward; asked before the model is trained.

    A head counts as if each token passed its matrices. On kept states heads, or upper layers, are
    all that is computed: what the frozen trunk or the lower layers took, once, is not in here.

    Args:
        lengths: of the notes that it learns from, in tokens.
    """
    if not isinstance(model, Classifier):
        shapes = map(shape_of, model.heads.parameters())
        return 6.0 * sum(shape.numel() for shape in shapes if len(shape) > 1)
    longest = model.base.longest if isinstance(model.base, Encoder) else None
    read = np.minimum(lengths, longest) if longest else lengths  # an encoder: a chunk at a time
    attended = attended_tokens(map(int, read), causal=not isinstance(model.base, Encoder))
    passed_over = model.base.lower.layers if model.base.lower else ()
    return flops_per_token(model, model.base.model, attended, passed_over)


def cost_of(model: Heads, trained: Trained, of_token: float) -> dict[str, Any]:
    """What the training took, for an artifact's counts.

    Args:
        of_token: operations; validation is not among them.
    """
    in_heads = {name for names in Heads.trained_parts(model).values() for name in names}
    to_best = [row["tokens"] for row in trained.history if row["step"] <= trained.best_step]
    return {
        "adapter_parameters": sum(
            tensor.numel() for name, tensor in trained.state.items() if name not in in_heads
        ),
        "training_seconds": round(trained.history[-1]["seconds"], 1),
        "flops": round(of_token * trained.tokens),
        "flops_to_best": round(of_token * max(to_best, default=0)),
    }
