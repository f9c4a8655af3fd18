"""The fusion: W + dW(clinical) + dW(task), both adapters in the forward pass, and its heads."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from peft import LoraModel, PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.errors import ModelError
from tasks.model.adapters import (
    add_new_adapter,
    add_saved_adapter,
    language_model,
    starts_at_zero,
    write_adapter,
)
from tasks.model.base import trunk
from tasks.model.heads import Head, HeadShape
from tasks.model.lora import UNNAMED, BaseName, LoraSettings
from tasks.model.whitening import Whitening

CLINICAL, TASK = "clinical", "task"
Clinical = Literal["frozen", "trainable"]


@dataclass(frozen=True)
class Fusion:
    """Which adapters a base gets: a new task adapter, beside the clinical one if given."""

    clinical: Path | None
    clinical_is: Clinical
    lora: LoraSettings

    def build(self, base: PreTrainedModel, shapes: Sequence[HeadShape]) -> FusedModel:
        """Put both adapters and new heads on a headless base; train what the config says, only."""
        peft = add_new_adapter(base, self.lora, TASK, "finetune.lora.targets")
        trainable = self.clinical_is == "trainable"
        if self.clinical is not None:
            # a frozen adapter is a fixed part of the model: no noise on it
            peft = add_saved_adapter(
                peft, self.clinical, CLINICAL, dropout=None if trainable else 0.0
            )
        model = FusedModel(peft, shapes)
        model.activate(train_clinical=trainable)
        return model


class FusedModel(nn.Module):
    """A base without its output layer, with its adapters, and one head for each outcome."""

    def __init__(self, backbone: PeftModel, shapes: Sequence[HeadShape]) -> None:
        super().__init__()
        self.backbone = backbone
        self.shapes = tuple(shapes)
        self.whitening = Whitening(max((shape.hidden for shape in shapes), default=0))
        self.heads = nn.ModuleDict({shape.outcome: shape.build() for shape in shapes})

    @property
    def _tuner(self) -> LoraModel:
        return self.backbone.base_model  # type: ignore[return-value]

    @property
    def adapters(self) -> list[str]:
        return [name for name in (CLINICAL, TASK) if name in self.backbone.peft_config]

    def activate(self, *, train_clinical: bool) -> None:
        """Add up all adapters in the forward pass; freeze all but what is trained; check it."""
        # PeftModel.set_adapter takes one name only; this one also makes every listed one trainable
        self._tuner.set_adapter(self.adapters)
        trained = (TASK, CLINICAL) if train_clinical else (TASK,)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(_is_trained(name, trained))
        self._check_active(train_clinical)

    def states(self, input_ids: Tensor) -> Tensor:
        """Token states [batch, tokens, hidden] of right-padded ids [batch, tokens].

        No attention mask: attention looks back only, so that padding on the right reaches no
        token, and torch's faster causal kernel is used.
        """
        layers = trunk(language_model(self.backbone))
        return layers(input_ids=input_ids, use_cache=False).last_hidden_state

    def forward(self, input_ids: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Logits [batch, labels] of each outcome, from right-padded ids [batch, tokens].

        Args:
            present: [batch, tokens] bool, False at padding.
        """
        states = self.whitening(self.states(input_ids))
        return {outcome: head(states, present) for outcome, head in self.heads.items()}

    def trained_names(self) -> list[str]:
        return [name for name, parameter in self.named_parameters() if parameter.requires_grad]

    def head(self, outcome: str) -> Head:
        return self.heads[outcome]  # type: ignore[return-value]

    def save(
        self,
        place: Path,
        state: Mapping[str, Tensor] | None = None,
        base: BaseName = UNNAMED,
    ) -> None:
        """Write the task adapter to `place`, the heads beside it, a trained clinical one below it.

        Args:
            state: all trained parameters by name, where the model does not hold them whole.
            base: what the adapters' configs call the base.
        """
        state = dict(self.named_parameters()) if state is None else dict(state)
        prefix = "backbone."
        peft = {name[len(prefix) :]: t for name, t in state.items() if name.startswith(prefix)}
        write_adapter(place, self.backbone, TASK, peft, base)
        if any(_adapter_of(name) == CLINICAL for name in self.trained_names()):
            write_adapter(place / CLINICAL, self.backbone, CLINICAL, peft, base)
        heads = {name: tensor for name, tensor in state.items() if name.startswith("heads.")}
        fixed = {f"whitening.{name}": each for name, each in self.whitening.named_buffers()}
        save_file(
            {name: _plain(tensor) for name, tensor in sorted({**heads, **fixed}.items())},
            place / "head.safetensors",
        )
        described = [asdict(shape) for shape in self.shapes]
        (place / "head.json").write_text(json.dumps({"heads": described}, indent=1) + "\n")

    @contextmanager
    def without(self, adapter: str) -> Iterator[None]:
        """Within it, that adapter's update is zero; afterwards it is exactly what it was."""
        scales = [
            (layer, layer.scaling[adapter])
            for layer in self.backbone.modules()
            if isinstance(layer, LoraLayer) and adapter in layer.scaling
        ]
        try:
            for layer, _ in scales:
                layer.scaling[adapter] = 0.0
            yield
        finally:
            for layer, scale in scales:
                layer.scaling[adapter] = scale

    def _check_active(self, train_clinical: bool) -> None:
        """What the paper's released code lacks: every adapter acts, and the right ones learn."""
        active = sorted(self._tuner.active_adapters)
        learning = {
            adapter
            for name in self.trained_names()
            if "lora_" in name
            for adapter in (CLINICAL, TASK)
            if adapter in name.split(".")
        }
        expected = {TASK} | ({CLINICAL} & set(self.adapters) if train_clinical else set())
        others = [
            name
            for name in self.trained_names()
            if not name.startswith("heads.") and "lora_" not in name
        ]
        if active != sorted(self.adapters) or learning != expected or others:
            raise ModelError(
                f"the fusion is not as configured: active {active}, trained {sorted(learning)}, "
                f"expected {sorted(self.adapters)} and {sorted(expected)}; this PEFT version "
                "behaves differently: use the pinned one"
            )


def check_first_gradients(norms: Mapping[str, float]) -> None:
    """Raise ModelError where the first backward pass brought the task adapter no gradient.

    Args:
        norms: of every trained parameter's gradient, by name. Only those that start at zero
            count: the others get no gradient in the first step.
    """
    of_task = {name: norm for name, norm in norms.items() if _adapter_of(name) == TASK}
    reached = [norm for name, norm in of_task.items() if starts_at_zero(name)]
    if not any(reached):
        raise ModelError(
            "no gradient reached the task adapter in the first backward pass: it is not part of "
            "the forward pass; use the pinned PEFT version"
        )


def load_fused(base: PreTrainedModel, place: Path, clinical: Path | None) -> FusedModel:
    """Load what `FusedModel.save` wrote onto a fresh headless base, in evaluation mode.

    Args:
        clinical: the frozen clinical adapter that it was trained beside, or None; a trained copy
            in `place` comes before it.
    """
    trained_copy = place / CLINICAL
    clinical = trained_copy if trained_copy.is_dir() else clinical
    peft = add_saved_adapter(base, place, TASK, dropout=0.0)
    if clinical is not None:
        peft = add_saved_adapter(peft, clinical, CLINICAL, dropout=0.0)
    model = FusedModel(peft, read_shapes(place))
    model.activate(train_clinical=False)
    _load_heads(model, place / "head.safetensors")
    return model.requires_grad_(False).eval()


def read_shapes(place: Path) -> list[HeadShape]:
    """The shapes of the heads that were saved there."""
    described = json.loads((place / "head.json").read_text())["heads"]
    return [
        HeadShape(**{**shape, "labels": tuple((system, code) for system, code in shape["labels"])})
        for shape in described
    ]


def _load_heads(model: FusedModel, path: Path) -> None:
    tensors = load_file(path)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    wrong = [name for name in missing if not name.startswith("backbone.")] + unexpected
    if wrong:
        raise ModelError(
            f"{path} does not fit its head.json: {len(wrong)} tensors differ, e.g. {wrong[0]}; "
            "run finetune anew"
        )


def _is_trained(name: str, trained: Collection[str]) -> bool:
    return name.startswith("heads.") or _adapter_of(name) in trained


def _adapter_of(name: str) -> str | None:
    """Whose parameter it is: "...q_proj.lora_A.task.weight", "...lora_embedding_A.task"."""
    _, of_adapter, rest = name.partition(".lora_")
    return rest.split(".")[1] if of_adapter else None


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous()
