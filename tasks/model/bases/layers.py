"""A base without its upper layers: the states that are read need not be the last layer's.

The middle layers of a decoder say more about a text than its last, which says the next token.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from tasks.errors import ConfigError

# what architectures call the norm after their last layer, which was made for that layer's states
NORMS_AFTER = ("norm", "final_layernorm", "final_layer_norm", "final_norm", "ln_f", "norm_f")

CUT = "layers_before_the_cut"  # an attribute of a list of layers that was cut: how many there were


def cut(model: PreTrainedModel, layer: int) -> None:
    """Leave the first `layer` transformer layers, in place; their states are the model's.

    Raises ConfigError where the model has fewer layers, or none that can be told.
    """
    name, layers = stack_of(model, "finetune.layer")
    if layer > len(layers):
        raise ConfigError(
            f"finetune.layer is {layer}, but the base has {len(layers)} layers; lower it, or leave "
            "it empty for the last one"
        )
    if layer == len(layers):
        return
    kept = nn.ModuleList(layers[:layer])
    setattr(kept, CUT, len(layers))
    model.set_submodule(name, kept)
    model.config.num_hidden_layers = layer
    parent = model.get_submodule(name.rpartition(".")[0]) if "." in name else model
    for norm in NORMS_AFTER:
        if hasattr(parent, norm):
            setattr(parent, norm, nn.Identity())


def take_dropout_off(model: PreTrainedModel) -> None:
    """Let the model compute in training what it computes otherwise, in place.

    For a frozen base: its dropout taught its own weights, and on a CPU a step of a small encoder
    takes six times as long with it. What adapters and heads drop is theirs to say.
    """
    configs = {id(config): config for config in (model.config, model.config.get_text_config())}
    for holder in (*configs.values(), *model.modules()):
        for name, value in list(vars(holder).items()):
            if "drop" in name and isinstance(value, float):
                setattr(holder, name, 0.0)
        if isinstance(holder, nn.Dropout):
            holder.p = 0.0


def stack_of(model: PreTrainedModel, key: str) -> tuple[str, nn.ModuleList]:
    """The name of the model's list of transformer layers, and the list.

    Raises ConfigError, which names the key that asks for it, where it cannot be told.
    """
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, module
    raise ConfigError(f"the layers of a {type(model).__name__} cannot be told; leave {key} empty")


def depths_of(model: PreTrainedModel, key: str) -> dict[int, int]:
    """How many transformer layers lie above each parameter, by the parameter's identity.

    Above the embedding lie all, above what follows the last layer none. Raises ConfigError as
    `stack_of` does.
    """
    _, layers = stack_of(model, key)
    depths = {id(parameter): len(layers) for parameter in model.parameters()}
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in NORMS_AFTER:
            depths |= {id(parameter): 0 for parameter in module.parameters()}
    for index, layer in enumerate(layers):  # the last, since there may be such norms in a layer
        depths |= {id(parameter): len(layers) - 1 - index for parameter in layer.parameters()}
    return depths


def layers_that_learn(model: PreTrainedModel, below: int) -> tuple[str, range]:
    """The name of the list of transformer layers, and which of them are not frozen.

    Raises ConfigError where none is left.
    """
    name, layers = stack_of(model, "finetune.freeze_below")
    if below >= len(layers):
        raise ConfigError(
            f"finetune.freeze_below is {below}, but the base has {len(layers)} layers, so that "
            "nothing of it would learn; lower it"
        )
    return name, range(below, len(layers))


@torch.no_grad()
def draw_anew(model: PreTrainedModel, top: int, below: int = 0) -> None:
    """Draw the weights of the upper layers as the architecture does for a new model, in place.

    Args:
        below: so many lower layers learn nothing.

    Raises ConfigError where there are fewer layers, or one of them would be drawn and stay so.
    """
    _, layers = stack_of(model, "finetune.reinit_top")
    if top > len(layers):
        raise ConfigError(
            f"finetune.reinit_top is {top}, but the base has {len(layers)} layers; lower it"
        )
    if top + below > len(layers):
        raise ConfigError(
            f"finetune.reinit_top is {top} and finetune.freeze_below is {below}, but the base has "
            f"{len(layers)} layers: one that was drawn anew would learn nothing; lower one of them"
        )
    for layer in layers[len(layers) - top :]:
        for module in layer.modules():
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                tensor._is_hf_initialized = False  # type: ignore[attr-defined]
            model._init_weights(module)  # type: ignore[no-untyped-call]
