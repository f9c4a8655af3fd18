"""A classifier: a base, the adapters whose updates are added to it, and a head for each outcome.

W + dW(clinical) + ... + dW(task), all adapters in the forward pass, heads on the token states
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from peft import PeftModel
from torch import Tensor

from tasks.model.adapters.build import add_new_adapter, add_saved_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.gates import GATES, gates_of, read_gates, write_gates
from tasks.model.adapters.merges import as_one
from tasks.model.adapters.methods import TASK, UNNAMED, BaseName, Method
from tasks.model.adapters.parts import activate, parameters_of, without
from tasks.model.bases.load import Base
from tasks.model.heads.heads import Heads
from tasks.model.trunk import Summand, add_summands, merge_in
from tasks.variants import Merge


class Classifier(Heads):
    """A base with its adapters, and one head for each outcome."""

    def __init__(self, base: Base, backbone: PeftModel, summands: Sequence[Summand]) -> None:
        """Of a base with adapters on it, the task's and the summands; heads are put on later."""
        super().__init__()
        self.base = base
        self.backbone = backbone
        self.summands = tuple(summands)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the adapters, in the order in which their updates are added."""
        return (*(summand.name for summand in self.summands), TASK)

    @property
    def trained_adapters(self) -> tuple[str, ...]:
        trained = (summand for summand in self.summands if summand.fusion == "trained")
        return (*(summand.name for summand in trained), TASK)

    def states(self, input_ids: Tensor, present: Tensor) -> Tensor:
        """Token states [batch, tokens, hidden] of right-padded ids [batch, tokens].

        Args:
            present: [batch, tokens] bool, False at padding.
        """
        return self.base.states(input_ids, present)

    def forward(self, input_ids: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Logits [batch, labels] of each outcome; see `states`."""
        return super().forward(self.states(input_ids, present), present)

    def trained_parts(self) -> dict[str, list[str]]:
        """The names of the trained parameters, by the adapter or the head that they are of."""
        adapters, gates = parameters_of(self), list(gates_of(self))
        parts = {name: adapters[name] for name in self.trained_adapters}
        return parts | ({GATES: gates} if gates else {}) | super().trained_parts()

    @contextmanager
    def without(self, adapter: str) -> Iterator[None]:
        """Within it, that adapter takes no part; nothing is trained, within it and after it."""
        with without(self.backbone, adapter):
            yield

    @contextmanager
    def merged(self, by: Merge) -> Iterator[None]:
        """Within it, all adapters act as the one that they are made into."""
        with as_one(self.backbone, self.adapters, by):
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
        write_gates(path, self, state)
        self.write(path, state)


def new_classifier(
    base: Base, method: Method, summands: Sequence[Summand], key: str = "finetune.adapter.targets"
) -> Classifier:
    """Put a task adapter and the summands on a headless base; train what they say, only.

    The task adapter is a new one by the method, or starts as the summand that is continued.
    """
    before, started, beside = _by_turn(summands)
    merge_in(base.model, before)
    if started is None:
        peft = add_new_adapter(base.model, method, TASK, key)
    else:
        peft = add_saved_adapter(base.model, started.path, TASK, trained=True)
    add_summands(peft, beside)
    model = Classifier(base, peft, beside)
    activate(peft, model.adapters, model.trained_adapters)
    for parameter in gates_of(model).values():
        parameter.requires_grad_(True)
    return model


def load_classifier(base: Base, path: Path, summands: Sequence[Summand]) -> Classifier:
    """Load what `Classifier.save` wrote onto a fresh headless base, in evaluation mode.

    Args:
        summands: those that it was trained beside; the copy of a trained one in `path` comes
            before it.
    """
    before, _, beside = _by_turn(summands)
    merge_in(base.model, before)
    copies = [(path / summand.name, summand) for summand in beside]
    beside = [replace(s, path=copy) if copy.is_dir() else s for copy, s in copies]
    peft = add_saved_adapter(base.model, path, TASK)
    add_summands(peft, beside)
    model = Classifier(base, peft, beside)
    activate(peft, model.adapters)
    read_gates(path, model)
    model.read(path)
    return model.requires_grad_(False).eval()


def _by_turn(summands: Sequence[Summand]) -> tuple[list[Summand], Summand | None, list[Summand]]:
    """Those that are merged, the one that the task adapter starts as, and those beside it."""
    before = [summand for summand in summands if summand.fusion == "merged"]
    started = next((summand for summand in summands if summand.fusion == "continued"), None)
    beside = [s for s in summands if s.fusion not in ("merged", "continued")]
    return before, started, beside
