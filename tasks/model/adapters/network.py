"""A small network behind a layer: its output y becomes y + U gelu(D y)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class Network(nn.Module):
    """What stands behind one sublayer."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, width), nn.Linear(width, hidden)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.is_on = True

    def forward(self, output: Tensor) -> Tensor:
        if not self.is_on:
            return output
        inner = functional.gelu(self.down(output.to(self.down.weight.dtype)))
        changed: Tensor = output + self.up(inner).to(output.dtype)
        return changed

    def stand_behind(self, model: nn.Module, path: str, end: str) -> None:
        """Let it change what a layer of a model gives.

        Args:
            path: of the transformer layer, whose part it becomes: layers may learn at different
                rates.
            end: of the layer within that one.
        """
        model.get_submodule(path).add_module(f"bottleneck_{end.replace('.', '_')}", self)
        model.get_submodule(f"{path}.{end}").register_forward_hook(self._changed)

    def _changed(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        changed: Tensor = self(output)
        return changed
