"""DeepSpeed's engine around one model: built from our configuration, stepped, and taken down."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tasks.collectives import join_deepspeed
from tasks.errors import ConfigError
from tasks.precision import computes_bf16
from tasks.training import held
from tasks.training.config import TrainingConfig, read_deepspeed
from tasks.training.program import World

# the default; as configs/deepspeed/zero2.json
_ZERO2: dict[str, Any] = {"zero_optimization": {"stage": 2, "overlap_comm": False}}
WIDE = 256
Fingerprint = tuple[int, int]  # of a tensor's values: their sum and their XOR
_LOSS_SCALERS = (
    "loss_scaler",
    "loss_scale_config",
)  # of DeepSpeed's optimizers, with and without ZeRO


def seed_all(*numbers: int) -> None:
    """Seed torch's generators by all these numbers together: step by step, resumable."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    torch.manual_seed(seed)


def precision_of(config: TrainingConfig, world: World) -> torch.dtype:
    """The type in which the model computes, and in which to load its weights."""
    on_gpu = world.device.type == "cuda"
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return types.get(config.precision, torch.bfloat16 if on_gpu else torch.float32)


def precision_without_training(
    config: TrainingConfig, world: World, width: int | None
) -> torch.dtype:
    """The type in which a model of that width computes, where nothing of it is trained.

    auto: also bf16 on a CPU that computes it, if the model is wide enough to gain by it (1.2 to 2
    times; nothing at a width of 64).
    """
    if config.precision == "auto" and computes_bf16(world.device):
        return torch.bfloat16 if (width or 0) >= WIDE else torch.float32
    return precision_of(config, world)


def deepspeed_config(config: TrainingConfig, world: World) -> dict[str, Any]:
    """The DeepSpeed configuration of the user's JSON file, or ZeRO-2, with our values filled in.

    Ours, and therefore not to be set to anything but "auto": batch sizes, clipping, precision. The
    optimizer and its schedule are ours too. Where gradients are whole on every rank, `Engine.step`
    clips them. Raises ConfigError where the file is not usable.
    """
    given = copy.deepcopy(_ZERO2) if config.deepspeed is None else read_deepspeed(config.deepspeed)
    dtype = precision_of(config, world)
    ours: dict[str, Any] = {
        "train_batch_size": world.size,  # DeepSpeed counts backward passes: one, on each rank
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0 if _is_plain(given, dtype) else config.clip,
        "bf16": {"enabled": dtype == torch.bfloat16},
        "fp16": {"enabled": dtype == torch.float16},
    }
    return {
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
        "zero_allow_untested_optimizer": True,  # torch's AdamW
        "zero_force_ds_cpu_optimizer": False,
        **given,
        **ours,
    }


def _is_plain(settings: Mapping[str, Any], dtype: torch.dtype) -> bool:
    """Whether DeepSpeed leaves parameters, gradients and optimizer as torch has them."""
    return not settings.get("zero_optimization", {}).get("stage") and dtype == torch.float32


@contextmanager
def without_training(model: nn.Module, config: TrainingConfig, world: World) -> Iterator[nn.Module]:
    """The model to be called, in evaluation mode and without gradients.

    Where ranks hold a part of its parameters each (ZeRO-3), they are fetched as they are used.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad(), ExitStack() as stack:
        called: Any = model
        if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
            import deepspeed

            called, *_ = deepspeed.initialize(model=model, config=deepspeed_config(config, world))
            stack.callback(called.destroy)
            _register_external(model)
        yield called
    model.train(was_training)


def save_activations(model: PreTrainedModel, key: str) -> None:
    """Let the model compute its activations twice rather than keep them. ConfigError: it cannot."""
    try:
        model.gradient_checkpointing_enable(  # type: ignore[no-untyped-call]
            {"use_reentrant": False}
        )
    except ValueError:
        raise ConfigError(
            f"a {type(model).__name__} cannot checkpoint gradients; set {key} to false"
        ) from None
    model.enable_input_require_grads()  # type: ignore[no-untyped-call]


@dataclass
class Engine:
    """A model under DeepSpeed."""

    model: Any  # deepspeed.DeepSpeedEngine, which is called like the module
    optimizer: torch.optim.Optimizer
    names: dict[str, nn.Parameter]  # the trained parameters
    clip: float | None = None  # the gradient's largest norm; None: DeepSpeed clips
    still: frozenset[str] = frozenset()  # those of them that do not learn in the next step

    @classmethod
    def build(
        cls,
        model: nn.Module,
        config: TrainingConfig,
        world: World,
        rate_of: Callable[[str], float],
        apart: Collection[str] = (),
    ) -> Engine:
        """Wrap the model; its parameters that require a gradient are trained.

        Args:
            apart: those of them that may be kept still.
        """
        import deepspeed

        names = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        # fused: a pass over a tensor rather than ten; with a GPU, what is offloaded lies elsewhere
        fused = world.device.type == "cpu"
        optimizer = torch.optim.AdamW(
            _groups(names, config, rate_of, apart),
            lr=config.learning_rate,
            foreach=not fused,
            fused=fused,
        )
        if not torch.distributed.is_initialized():
            raise RuntimeError("the ranks have not met: begin with tasks.training.program.run")
        join_deepspeed()
        settings = deepspeed_config(config, world)
        wrapped, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
        _register_external(model)
        wrapped.train()
        plain = _is_plain(settings, precision_of(config, world))
        return cls(wrapped, optimizer, names, config.clip if plain else None)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the loss's gradient; with the last one of a step, over all ranks."""
        self.model.set_gradient_accumulation_boundary(last)
        with self._walking_fast():
            self.model.backward(loss, scale_wrt_gas=False)

    def step(self, share: float) -> None:
        """Clip and apply the gradient at this share of each group's peak learning rate."""
        for group in self.model.optimizer.param_groups:
            group["lr"] = 0.0 if group["apart"] in self.still else group["peak"] * share
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.names.values(), self.clip)
        with self._walking_fast():
            self.model.step()

    @contextmanager
    def _walking_fast(self) -> Iterator[None]:
        """Within it, DeepSpeed finds the trained parameters without a walk through all modules.

        Without ZeRO it looks for gradients twice a step, and an adapted layer is a dozen modules.
        """
        if self.clip is None:
            yield
            return
        found = vars(self.model.module)
        found["parameters"] = self.names.values
        found["named_parameters"] = self.names.items
        try:
            yield
        finally:
            del found["parameters"], found["named_parameters"]

    def keep_still(self, names: frozenset[str]) -> None:
        """Let these parameters, which must have been set apart, not learn until told otherwise.

        They get no gradients, and nothing is kept for them in the forward pass. The optimizer,
        which steps all of them together under ZeRO, moves them at a rate of zero.
        """
        for name, parameter in self.names.items():
            parameter.requires_grad_(name not in names)
        self.still = names

    @property
    def skipped_steps(self) -> int:
        """How many steps changed nothing: fp16 overflowed, and its loss scale was halved."""
        return int(self.model.skipped_steps)

    def counters(self) -> dict[str, Any]:
        """What it counts beside the tensors: the optimizer's steps, and fp16's loss scale."""
        steps = [int(state["step"]) for state in self.optimizer.state.values()]
        return {
            "optimizer_steps": max(steps, default=0),
            "skipped_steps": self.skipped_steps,
            "loss_scale": {
                name: number
                for name, number in vars(self._loss_scaler).items()
                if isinstance(number, int | float)
            },
        }

    def count_on(self, counters: Mapping[str, Any]) -> None:
        """Go on with these counters, of which the optimizer's steps lie with its moments."""
        self.model.skipped_steps = counters["skipped_steps"]
        known = vars(self._loss_scaler)
        known.update({name: counters["loss_scale"].get(name, known[name]) for name in known})

    @property
    def _loss_scaler(self) -> object:
        scalers = (getattr(self.model.optimizer, name, None) for name in _LOSS_SCALERS)
        return next(filter(None, scalers), SimpleNamespace())

    def trained_tensors(self) -> dict[str, Tensor]:
        """The trained parameters, whole (ZeRO-3 keeps them in parts), float32, on the CPU."""
        return {name: tensor.cpu().clone() for name, tensor in self._trained()}

    def _trained(self) -> Iterator[tuple[str, Tensor]]:
        from deepspeed.utils import safe_get_full_fp32_param

        for name, parameter in self.names.items():
            whole = safe_get_full_fp32_param(parameter)
            tensor = held.master_of(parameter, self.model.optimizer) if whole is None else whole
            yield name, tensor.detach().float().reshape(_shape(parameter))

    def buffers(self) -> dict[str, Tensor]:
        """What the model keeps beside parameters, and saves: AdaLoRA's averages, say."""
        return {
            f"{prefix}.{name}": buffer
            for prefix, module in self.model.module.named_modules()
            for name, buffer in module._buffers.items()
            if buffer is not None and name not in module._non_persistent_buffers_set
        }

    def size_of(self, name: str) -> int:
        """How many numbers a trained parameter has, on all ranks together."""
        return _shape(self.names[name]).numel()

    def fingerprints(self, *, trained: bool) -> dict[str, Fingerprint]:
        """Two numbers for each parameter, one of which changes if it does, trained or frozen.

        Trained ones count whole and in float32, as the optimizer holds them; of a frozen one,
        this rank's part under ZeRO-3.
        """
        if trained:
            return {name: fingerprint_of(tensor) for name, tensor in self._trained()}
        return {
            name: fingerprint_of(getattr(parameter, "ds_tensor", parameter))
            for name, parameter in self.model.module.named_parameters()
            if name not in self.names
        }

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The model in evaluation mode, without gradients."""
        self.model.eval()
        with torch.no_grad():
            yield self.model
        self.model.train()

    def close(self) -> None:
        """Take the engine down, so that its memory is free for the next model."""
        self.model.destroy()
        self.names.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _register_external(model: nn.Module) -> None:
    """Tell ZeRO-3 of parameters that a module reads from a dictionary of its own.

    It fetches a module's parameters when the module is called, which a dictionary never is: so are
    PEFT's updates of an embedding.
    """
    from deepspeed.runtime.zero import register_external_parameter

    for module in model.modules():
        for child in module.children():
            if isinstance(child, nn.ParameterDict):
                for parameter in child.values():
                    if hasattr(parameter, "ds_id"):
                        register_external_parameter(module, parameter)


def _groups(
    names: dict[str, nn.Parameter],
    config: TrainingConfig,
    rate_of: Callable[[str], float],
    apart: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Parameters by peak rate and weight decay, which vectors (biases, norms) are spared.

    Args:
        apart: those that get a group each.
    """
    groups: dict[tuple[float, float, str], list[nn.Parameter]] = {}
    for name, parameter in names.items():
        decay = config.weight_decay if len(_shape(parameter)) > 1 else 0.0
        key = rate_of(name), decay, name if name in apart else ""
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": params, "lr": rate, "peak": rate, "weight_decay": decay, "apart": name}
        for (rate, decay, name), params in groups.items()
    ]


def fingerprint_of(tensor: Tensor) -> Fingerprint:
    """The sum of the tensor's values, read as integers, and their XOR.

    Any single change changes both. Of a bias of two values, one up and one down by a bit, the sum
    stays, as was seen; the XOR stays where equal values change alike.
    """
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.detach().contiguous().view(integer[tensor.element_size()])
    xor = int(torch.hash_tensor(bits).view(torch.int64)) if bits.numel() else 0
    return int(bits.sum(dtype=torch.int64)), xor


def _shape(parameter: nn.Parameter) -> torch.Size:
    """The whole parameter's shape; under ZeRO-3 its own is that of an empty tensor."""
    return getattr(parameter, "ds_shape", parameter.shape)
