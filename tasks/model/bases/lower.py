"""The lower layers of a base, passed over where what leaves them was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from tasks.errors import ModelError
from tasks.model.bases.chunks import RowsRead
from tasks.model.bases.layers import layers_that_learn, stack_of


class LowerLayers:
    """The lower transformer layers of a base, which nothing trains.

    The model around them runs as ever, so that masks and positions are the architecture's own.
    """

    def __init__(self, model: PreTrainedModel, count: int) -> None:
        """The first `count` layers; ConfigError where none is left above them."""
        layers_that_learn(model, count)
        _, layers = stack_of(model, "finetune.freeze_below")
        self.layers = tuple(layers[:count])
        self._architecture = type(model).__name__
        self._leaving: Tensor | None = None
        for index, layer in enumerate(self.layers):
            layer.forward = self._or_passed(layer.forward, last=index == count - 1)

    def leaving(
        self, call: Callable[[Tensor, Tensor], object], input_ids: Tensor, present: Tensor
    ) -> Tensor:
        """What leaves the last of them, [rows, length, hidden], as the base is called.

        Raises ModelError where that is no state for each token.

        Args:
            call: calls the base with the others.
            input_ids, present: [rows, length].
        """
        outputs: list[Tensor] = []
        hook = self.layers[-1].register_forward_hook(
            lambda layer, args, output: outputs.append(
                output if isinstance(output, Tensor) else output[0]
            )
        )
        try:
            call(input_ids, present)
        finally:
            hook.remove()
        if outputs[0].dim() != 3 or outputs[0].shape[:2] != present.shape:
            raise self.unfit
        return outputs[0]

    @contextmanager
    def passed_over(self, leaving: Tensor) -> Iterator[None]:
        """Within it what leaves the last of them is `leaving` [rows, length, hidden]."""
        self._leaving = leaving
        try:
            yield
        finally:
            self._leaving = None

    @property
    def unfit(self) -> ModelError:
        """Upper layers read more of the lower ones than a state for each token."""
        return ModelError(
            f"the upper layers of a {self._architecture} do not go on from the states that leave "
            "the lower ones; set finetune.states.max_gib to 0, so that all are computed"
        )

    def _or_passed(self, forward: Callable[..., Any], *, last: bool) -> Callable[..., Any]:
        returned: Any = None  # by the first call, which tells a tensor from a tuple

        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal returned
            if self._leaving is None or returned is None:
                output = forward(*args, **kwargs)
                more = None if isinstance(output, Tensor) else [None] * (len(output) - 1)
                returned = type(output), more
            if self._leaving is None:
                return output
            states = args[0] if args else kwargs["hidden_states"]
            states = self._leaving.to(states) if last else states
            kind, more = returned
            return states if more is None else kind([states, *more])

        return called


def token_states(
    rows: RowsRead,
    call: Callable[[Tensor, Tensor], Tensor],
    lower: LowerLayers | None,
    leaving: Tensor | None,
) -> Tensor:
    """Token states [texts, tokens, hidden] of texts of which a base reads these rows.

    Args:
        call: gives the states of ids and present, [rows, length] both.
        lower: the base's lower layers.
        leaving: what leaves them, of all texts one after another as `by_text` has it; they are not
            computed then. None: they are.
    """
    if leaving is None:
        return rows.join(call(rows.input_ids, rows.present))
    assert lower is not None
    laid_out = leaving.new_zeros((*rows.present.shape, leaving.shape[-1]))
    laid_out[rows.present] = leaving
    with lower.passed_over(laid_out):
        return rows.join(call(rows.input_ids, rows.present))
