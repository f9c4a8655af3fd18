"""A classifier: a base, the adapters whose updates are added to it, and a head for each outcome.

W + dW(clinical) + ... + dW(task), all adapters in the forward pass, heads on the token states
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tasks.errors import ModelError
from tasks.model.adapters.build import add_new_adapter, add_saved_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.methods import TASK, UNNAMED, BaseName, Method
from tasks.model.adapters.parts import activate, parameters_of, without
from tasks.model.bases.load import Base
from tasks.model.heads.config import HeadShape
from tasks.model.heads.head import Head
from tasks.model.heads.whitening import Whitening

_HEADS, _SHAPES = "head.safetensors", "head.json"


@dataclass(frozen=True)
class Summand:
    """An adapter that was made before, beside which the task adapter learns."""

    name: str
    path: Path  # its PEFT directory
    trained: bool = False  # whether it goes on learning (a copy), or is a fixed part of the model


class Classifier(nn.Module):
    """A base with its adapters, and one head for each outcome."""

    def __init__(self, base: Base, backbone: PeftModel, summands: Sequence[Summand]) -> None:
        """Of a base with adapters on it; heads are added later."""
        super().__init__()
        self.base = base
        self.backbone = backbone
        self.summands = tuple(summands)
        self.whitening = Whitening(0)
        self.heads = nn.ModuleDict()
        self.shapes: tuple[HeadShape, ...] = ()

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the adapters, in the order in which their updates are added."""
        return (*(summand.name for summand in self.summands), TASK)

    @property
    def trained_adapters(self) -> tuple[str, ...]:
        return (*(summand.name for summand in self.summands if summand.trained), TASK)

    def add_heads(self, shapes: Sequence[HeadShape]) -> None:
        """Put new heads on, not yet started, and train them."""
        self.shapes = tuple(shapes)
        self.whitening = Whitening(max((shape.hidden for shape in shapes), default=0))
        self.heads = nn.ModuleDict({shape.outcome: shape.build() for shape in shapes})

    def states(self, input_ids: Tensor, present: Tensor) -> Tensor:
        """Token states [batch, tokens, hidden] of right-padded ids [batch, tokens].

        Args:
            present: [batch, tokens] bool, False at padding.
        """
        return self.base.states(input_ids, present)

    def whitened_states(self, input_ids: Tensor, present: Tensor) -> Tensor:
        """The token states as the heads see them; see `states`."""
        return self.whitening(self.states(input_ids, present))

    def forward(self, input_ids: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Logits [batch, labels] of each outcome; see `states`."""
        states = self.whitened_states(input_ids, present)
        return {outcome: head(states, present) for outcome, head in self.heads.items()}

    def head(self, outcome: str) -> Head:
        return self.heads[outcome]  # type: ignore[return-value]

    def trained_parts(self) -> dict[str, list[str]]:
        """The names of the trained parameters, by the adapter or the head that they are of.

        A head is named "heads.mortality": an outcome may have the name of an adapter.
        """
        adapters = parameters_of(self)
        heads = {
            f"heads.{outcome}": [f"heads.{outcome}.{name}" for name, _ in head.named_parameters()]
            for outcome, head in self.heads.items()
        }
        return {**{name: adapters[name] for name in self.trained_adapters}, **heads}

    def rates(self, of_adapters: float, of_heads: float) -> dict[str, float]:
        """The peak learning rate of each trained parameter, by name."""
        return {
            name: of_heads if part.startswith("heads.") else of_adapters
            for part, names in self.trained_parts().items()
            for name in names
        }

    @contextmanager
    def without(self, adapter: str) -> Iterator[None]:
        """Within it, that adapter takes no part; nothing is trained, within it and after it."""
        with without(self.backbone, adapter):
            yield

    def save(
        self, path: Path, state: Mapping[str, Tensor] | None = None, base: BaseName = UNNAMED
    ) -> None:
        """Write the task adapter to `path`, the heads beside it, trained summands below it.

        Args:
            state: all trained parameters by name, where the model does not hold them whole.
            base: what the adapters' configs call the base.
        """
        state = dict(self.named_parameters()) if state is None else dict(state)
        prefix = "backbone."
        peft = {name[len(prefix) :]: t for name, t in state.items() if name.startswith(prefix)}
        for adapter in self.trained_adapters:
            folder = path if adapter == TASK else path / adapter
            write_adapter(folder, self.backbone, adapter, peft, base)
        heads = {name: state[name] for name in self.state_dict() if name.startswith("heads.")}
        fixed = {f"whitening.{name}": buffer for name, buffer in self.whitening.named_buffers()}
        tensors = {name: _plain(tensor) for name, tensor in sorted({**heads, **fixed}.items())}
        save_file(tensors, path / _HEADS)
        described = {"heads": [shape.model_dump(mode="json") for shape in self.shapes]}
        (path / _SHAPES).write_text(json.dumps(described, indent=1) + "\n")


def new_classifier(
    base: Base, method: Method, summands: Sequence[Summand], key: str = "finetune.adapter.targets"
) -> Classifier:
    """Put a new task adapter and the summands on a headless base; train what they say, only."""
    peft = add_new_adapter(base.model, method, TASK, key)
    for summand in summands:
        peft = add_saved_adapter(peft, summand.path, summand.name, trained=summand.trained)
    model = Classifier(base, peft, summands)
    activate(peft, model.adapters, model.trained_adapters)
    return model


def load_classifier(base: Base, path: Path, summands: Sequence[Summand]) -> Classifier:
    """Load what `Classifier.save` wrote onto a fresh headless base, in evaluation mode.

    Args:
        summands: those that it was trained beside; the copy of a trained one in `path` comes
            before it.
    """
    peft = add_saved_adapter(base.model, path, TASK)
    for summand in summands:
        copy = path / summand.name
        peft = add_saved_adapter(peft, copy if copy.is_dir() else summand.path, summand.name)
    model = Classifier(base, peft, summands)
    activate(peft, model.adapters)
    shapes = json.loads((path / _SHAPES).read_text())["heads"]
    model.add_heads([HeadShape.model_validate(shape) for shape in shapes])
    _load_heads(model, path / _HEADS)
    return model.requires_grad_(False).eval()


def _load_heads(model: Classifier, path: Path) -> None:
    tensors = load_file(path)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    wrong = [name for name in missing if not name.startswith("backbone.")] + unexpected
    if wrong:
        raise ModelError(
            f"{path} does not fit its head.json: {len(wrong)} tensors differ, e.g. {wrong[0]}; "
            "run finetune anew"
        )


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous()
