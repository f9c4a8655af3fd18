"""The heads of a member: token states scaled, thinned out in training, and a logit for each label.

Alone they are what is trained on the states of a frozen trunk; under them a `Classifier` has one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tasks.errors import ModelError
from tasks.model.heads.config import HeadShape
from tasks.model.heads.dropout import dropped, thinned
from tasks.model.heads.head import Head
from tasks.model.heads.scaling import SCALINGS
from tasks.precision import computes_bf16

_TENSORS, _SHAPES = "head.safetensors", "head.json"


class Heads(nn.Module):
    """One head for each outcome, on the same token states."""

    def __init__(self, shapes: Sequence[HeadShape] = ()) -> None:
        """New heads, not yet started."""
        super().__init__()
        self.add_heads(shapes)

    def add_heads(self, shapes: Sequence[HeadShape]) -> None:
        """Replace the heads by new ones, not yet started, and train them."""
        self.shapes = tuple(shapes)
        first = shapes[0] if shapes else None
        self.scaling = SCALINGS[first.head.scaling if first else "whitened"](
            first.hidden if first else 0, first.parts if first else 1
        )
        self.heads = nn.ModuleDict({shape.outcome: shape.build() for shape in shapes})

    def forward(self, states: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Logits [batch, labels] of each outcome; see `logits`."""
        return self.logits(states, present, list(self.heads))

    def logits(
        self, states: Tensor, present: Tensor, outcomes: Collection[str]
    ) -> dict[str, Tensor]:
        """Logits [batch, labels] of these outcomes.

        Args:
            states: [batch, tokens, hidden], as the trunk gives them. Of those that were kept in
                half precision, products are computed in bf16, where that is faster.
            present: [batch, tokens] bool, False at padding.
        """
        half = states.dtype == torch.float16 and computes_bf16(states.device)
        learning = self.training and bool(self.shapes)
        config = self.shapes[0].head if learning else None
        if config and config.token_dropout:
            states, present = thinned(states, present, config.token_dropout)
        states = self.scaling(states).to(torch.bfloat16 if half else torch.float32)
        if config:
            states = dropped(states, config.dropout)
        return {outcome: self.heads[outcome](states, present) for outcome in outcomes}

    def head(self, outcome: str) -> Head:
        head = self.heads[outcome]
        assert isinstance(head, Head)
        return head

    def trained_parts(self) -> dict[str, list[str]]:
        """The names of the trained parameters, by what they are of.

        A head is named "heads.mortality": an outcome may have the name of an adapter.
        """
        return {
            f"heads.{outcome}": [f"heads.{outcome}.{name}" for name, _ in head.named_parameters()]
            for outcome, head in self.heads.items()
        }

    def rates(self, of_adapters: float) -> dict[str, float]:
        """The peak learning rate of each trained parameter, by name."""
        rates = {name: of_adapters for names in self.trained_parts().values() for name in names}
        configs = {shape.outcome: shape.head for shape in self.shapes}
        of_heads = {
            f"heads.{outcome}.{name}": configs[outcome].rate_of(name)
            for outcome, head in self.heads.items()
            for name, _ in head.named_parameters()
        }
        return rates | of_heads

    def write(self, path: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write the heads into the directory `path`.

        Args:
            state: all trained parameters by name, where the model does not hold them whole.
        """
        state = dict(self.named_parameters()) if state is None else state
        ours = ("heads.", "scaling.")
        heads = {name: state[name] for name, _ in self.named_parameters() if name.startswith(ours)}
        saved = self.state_dict().keys()  # a bias that is always 0 is not
        buffers = ((name, each) for name, each in self.named_buffers() if name in saved)
        fixed = {name: each for name, each in buffers if name.startswith(ours)}
        tensors = {name: _plain(tensor) for name, tensor in sorted({**heads, **fixed}.items())}
        path.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path / _TENSORS)
        described = {"heads": [shape.model_dump(mode="json") for shape in self.shapes]}
        (path / _SHAPES).write_text(json.dumps(described, indent=1) + "\n")

    def read(self, path: Path) -> None:
        """Replace the heads by those that `write` wrote into that directory."""
        shapes = json.loads((path / _SHAPES).read_text())["heads"]
        self.add_heads([HeadShape.model_validate(shape) for shape in shapes])
        missing, unexpected = self.load_state_dict(load_file(path / _TENSORS), strict=False)
        wrong = [name for name in missing if name.startswith(("heads.", "scaling."))] + unexpected
        if wrong:
            raise ModelError(
                f"{path / _TENSORS} does not fit its {_SHAPES}: {len(wrong)} tensors differ, e.g. "
                f"{wrong[0]}; run finetune anew"
            )


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous()
