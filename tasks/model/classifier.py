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

from tasks.model.adapters.bottleneck import CONFIG as BOTTLENECKS
from tasks.model.adapters.bottleneck import Bottlenecks, places_of
from tasks.model.adapters.build import add_saved_adapter, language_model
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.gates import GATES, gates_of, read_gates, write_gates
from tasks.model.adapters.merges import as_one
from tasks.model.adapters.methods import (
    TASK,
    UNNAMED,
    BaseName,
    BitFit,
    Bottleneck,
    Full,
    TaskMethod,
)
from tasks.model.adapters.parts import activate, parameters_of, without
from tasks.model.adapters.task import Backbone, Learned, PeftAdapter
from tasks.model.adapters.virtual import VirtualTokens
from tasks.model.adapters.weights import WEIGHTS, OwnWeights
from tasks.model.bases.causal import Causal, trunk
from tasks.model.bases.encoder import Encoder
from tasks.model.bases.load import Base
from tasks.model.heads.heads import Heads
from tasks.model.trunk import Summand, add_summands, merge_in
from tasks.variants import Merge


class Classifier(Heads):
    """A base with its adapters, and one head for each outcome."""

    def __init__(
        self, base: Base, backbone: Backbone, summands: Sequence[Summand], task: Learned
    ) -> None:
        """Of a base with adapters on it; heads are put on later.

        Args:
            task: what is learned for the task.
        """
        super().__init__()
        self.base = base
        self.backbone = backbone
        self.summands = tuple(summands)
        self.task = task

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the adapters, in the order in which their updates are added."""
        return (*(summand.name for summand in self.summands), TASK)

    @property
    def trained_adapters(self) -> tuple[str, ...]:
        trained = (summand for summand in self.summands if summand.fusion == "trained")
        return (*(summand.name for summand in trained), TASK)

    def states(self, input_ids: Tensor, present: Tensor, leaving: Tensor | None = None) -> Tensor:
        """Token states [batch, tokens, hidden] of right-padded ids [batch, tokens].

        Args:
            present: [batch, tokens] bool, False at padding.
            leaving: what leaves the base's lower layers, where that was kept; see `Base.states`.
        """
        return self.base.states(input_ids, present, leaving)

    def forward(
        self, input_ids: Tensor, present: Tensor, leaving: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Logits [batch, labels] of each outcome; see `states`."""
        return super().forward(self.states(input_ids, present, leaving), present)

    def trained_parts(self) -> dict[str, list[str]]:
        """The names of the trained parameters, by the adapter or the head that they are of."""
        adapters, gates = parameters_of(self), list(gates_of(self))
        of_adapters = {name: adapters.get(name, []) for name in self.trained_adapters}
        of_adapters |= {TASK: self.task.names_in(self)} | ({GATES: gates} if gates else {})
        return of_adapters | super().trained_parts()

    def learn(self) -> None:
        """Let what is to be trained of the adapters be trained, and nothing else of the base."""
        summands = [summand.name for summand in self.summands]
        self._activate([name for name in summands if name in self.trained_adapters] + [TASK])
        self.task.learn()
        for gate in gates_of(self).values():
            gate.requires_grad_(True)

    def stay(self) -> Classifier:
        """Let nothing be trained; evaluate."""
        self._activate([])
        return self.requires_grad_(False).eval()

    def _activate(self, trained: Sequence[str]) -> None:
        if not isinstance(self.backbone, PeftModel):
            self.backbone.requires_grad_(False)
            return
        names = [*(summand.name for summand in self.summands), *self.task.adapters]
        activate(self.backbone, names, [name for name in trained if name in names])

    @contextmanager
    def without(self, adapter: str) -> Iterator[None]:
        """Within it, that adapter takes no part; nothing is trained, within it and after it."""
        if adapter == TASK:
            with self.task.set_aside(self.backbone):
                yield
            return
        assert isinstance(self.backbone, PeftModel)
        with without(self.backbone, adapter):
            yield

    @contextmanager
    def merged(self, by: Merge) -> Iterator[None]:
        """Within it, all adapters act as the one that they are made into."""
        assert isinstance(self.backbone, PeftModel)
        with as_one(self.backbone, self.adapters, by):
            yield

    def save(
        self, path: Path, state: Mapping[str, Tensor] | None = None, base: BaseName = UNNAMED
    ) -> None:
        """Write what the task learned to `path`, the heads beside it, trained summands below it.

        Args:
            state: all trained parameters by name, where the model does not hold them whole.
            base: what the adapters' configs call the base.
        """
        state = dict(self.named_parameters()) if state is None else dict(state)
        prefix = "backbone."
        ours = {name[len(prefix) :]: t for name, t in state.items() if name.startswith(prefix)}
        for adapter in self.trained_adapters[:-1]:
            assert isinstance(self.backbone, PeftModel)
            write_adapter(path / adapter, self.backbone, adapter, ours, base)
        self.task.write(path, self.backbone, ours, base)
        write_gates(path, self, state)
        self.write(path, state)


def new_classifier(
    base: Base,
    method: TaskMethod,
    summands: Sequence[Summand],
    key: str = "finetune.adapter.targets",
    steps: int = 1,
    freeze_below: int = 0,
) -> Classifier:
    """Put what a task learns and the summands on a headless base; train what they say, only.

    What is learned is new, by the method, or starts as the summand that is continued.

    Args:
        key: the configuration key of the target layers, for errors.
        steps: those of the training.
        freeze_below: so many of the lower layers, and the embedding, learn nothing for the task.
    """
    started, beside = _merged(base, summands)
    if started is not None:
        peft = add_saved_adapter(base.model, started.path, TASK, trained=True)
        model = _of_peft(base, PeftAdapter(peft), beside)
    elif isinstance(method, Full | BitFit):
        weights = OwnWeights.of(base.model, method, freeze_below)
        model = Classifier(base, _beside(base, beside), beside, weights)
    elif isinstance(method, Bottleneck):
        places = places_of(base.model, method, key.removesuffix(".targets"), freeze_below)
        backbone = _beside(base, beside)
        networks = Bottlenecks(language_model(backbone), places, method)
        model = Classifier(base, backbone, beside, networks)
    else:
        adapter = PeftAdapter.new(base.model, method, key, steps, freeze_below)
        model = _of_peft(base, adapter, beside)
    model.learn()
    return model


def load_classifier(base: Base, path: Path, summands: Sequence[Summand]) -> Classifier:
    """Load what `Classifier.save` wrote onto a fresh headless base, in evaluation mode.

    Args:
        summands: those that it was trained beside; the copy of a trained one in `path` comes
            before it.
    """
    _, beside = _merged(base, summands)
    copies = [(path / summand.name, summand) for summand in beside]
    beside = [replace(s, path=copy) if copy.is_dir() else s for copy, s in copies]
    if (path / WEIGHTS).is_file():
        weights = OwnWeights.read(base.model, path, keep=bool(summands))
        model = Classifier(base, _beside(base, beside), beside, weights)
    elif (path / BOTTLENECKS).is_file():
        backbone = _beside(base, beside)
        networks = Bottlenecks.read(language_model(backbone), path)
        model = Classifier(base, backbone, beside, networks)
    else:
        peft = add_saved_adapter(base.model, path, TASK)
        model = _of_peft(base, PeftAdapter(peft), beside)
    read_gates(path, model)
    model.read(path)
    return model.stay()


def _merged(base: Base, summands: Sequence[Summand]) -> tuple[Summand | None, list[Summand]]:
    """Merge the summands that are merged into the base.

    Returns the one that the task adapter starts as, and those that stand beside it.
    """
    merge_in(base.model, [summand for summand in summands if summand.fusion == "merged"])
    started = next((summand for summand in summands if summand.fusion == "continued"), None)
    return started, [s for s in summands if s.fusion not in ("merged", "continued")]


def _beside(base: Base, summands: Sequence[Summand]) -> Backbone:
    """The base with the summands on it."""
    return add_summands(base.model, summands) or base.model


def _of_peft(base: Base, adapter: PeftAdapter, summands: Sequence[Summand]) -> Classifier:
    peft = adapter.model
    add_summands(peft, summands)
    if peft.active_peft_config.is_prompt_learning:
        called = trunk(base.model) if isinstance(base, Causal) else base.model
        adapter.virtual = VirtualTokens(peft, called)
        if isinstance(base, Encoder):
            base = replace(base, tokens_before=adapter.virtual.count)
    return Classifier(base, peft, summands, adapter)
