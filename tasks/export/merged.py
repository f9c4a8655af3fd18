"""A member as one model that transformers loads: the updates in the weights, a head on top.

Where transformers has a class that computes just this, it is one of that class. That is where a
decoder's last token is read by a linear head without a bias: theirs has none. Any other is a class
of our own, whose code lies beside the weights (`modeling.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.initialization import no_init_weights

import tasks
from tasks.data.tokenizer import LoadedTokenizer, read_tokenizer
from tasks.export import modeling
from tasks.export.fused import SCORE, Affine
from tasks.export.job import ExportJob
from tasks.export.modeling import ClinfuseConfig, ClinfuseForSequenceClassification
from tasks.export.plain import affine, head_tensors
from tasks.model.adapters.bottleneck import Bottlenecks
from tasks.model.bases.causal import trunk
from tasks.model.bases.encoder import Encoder
from tasks.model.bases.files import is_causal
from tasks.model.bases.layers import CUT
from tasks.model.bases.load import Base
from tasks.model.classifier import Classifier
from tasks.model.heads.config import (
    AdapterConfig,
    GatedResidualConfig,
    HeadConfig,
    LabelAttentionConfig,
    LightweightConfig,
    LinearConfig,
    TinyAttentionConfig,
)
from tasks.model.heads.heads import Heads

MODELING = "modeling_clinfuse.py"
_IMPORT = re.compile(r"^from (tasks\.model\.\w+)\.(\w+) import ", re.MULTILINE)


def linear_head(job: ExportJob, heads: Heads) -> Affine | None:
    """The head as weights of the last token's state; None: it reads something else.

    With others' loaders that state is the last layer's, of a decoder that reads a text from its
    start and at once.
    """
    as_others = not (job.words or job.chunk or job.tail_tokens) and job.layer is None
    if not as_others or not is_causal(job.base):
        return None
    return affine(heads, job.outcome)


def write_merged(
    out: Path, job: ExportJob, base: Base, heads: Heads, tokenizer: LoadedTokenizer
) -> bool:
    """Write the model and its tokenizer; return whether its class is one of our own.

    Args:
        base: without adapters.
    """
    inner = base.model if isinstance(base, Encoder) else trunk(base.model)
    assert isinstance(inner, PreTrainedModel)
    linear = None if _networks(heads) else linear_head(job, heads)
    stock = None if linear is None else _stock(job, inner, linear, tokenizer)
    model = stock or _own(job, base, inner, heads, tokenizer)
    model.config.id2label = dict(enumerate(job.labels))
    model.config.label2id = {label: number for number, label in enumerate(job.labels)}
    model.config.problem_type = (
        "single_label_classification" if job.one_of else "multi_label_classification"
    )
    model.config.pad_token_id = tokenizer.pad
    model.to(getattr(torch, job.dtype)).save_pretrained(out)
    if stock is None:
        _copy_code(Path(modeling.__file__), out, MODELING)
    _write_tokenizer(out, job.tokenizer, tokenizer, job.max_tokens)
    return stock is None


def _stock(
    job: ExportJob, inner: PreTrainedModel, head: Affine, tokenizer: LoadedTokenizer
) -> PreTrainedModel | None:
    """A classifier of transformers' own that computes the same; None: there is none."""
    _, after = tokenizer.frame
    # it takes the last token that is no padding for the last one of the text
    if head.bias.any() or tokenizer.pad in after:
        return None
    if type(inner.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return None
    inner.config.num_labels = len(job.labels)
    with torch.device("meta"):
        model: Any = AutoModelForSequenceClassification.from_config(  # type: ignore[no-untyped-call]
            inner.config
        )
    same_trunk = type(getattr(model, model.base_model_prefix)) is type(inner)
    if not same_trunk or not isinstance(getattr(model, SCORE, None), nn.Linear):
        return None
    setattr(model, model.base_model_prefix, inner)
    model.score.weight = nn.Parameter(head.weight)
    assert isinstance(model, PreTrainedModel)
    return model


def _own(
    job: ExportJob,
    base: Base,
    inner: PreTrainedModel,
    heads: Heads,
    tokenizer: LoadedTokenizer,
) -> PreTrainedModel:
    (shape,) = (shape for shape in heads.shapes if shape.outcome == job.outcome)
    code, networks = Path(MODELING).stem, _networks(heads)
    config = ClinfuseConfig(
        trunk=_described(inner),
        causal=not isinstance(base, Encoder),
        left_out=_left_out(inner),
        words=job.words,
        width=shape.hidden,
        scaling=shape.head.scaling,
        head=shape.head.kind,
        settings=_settings(shape.head),
        behind=_places(networks, base, inner) if networks else (),
        bottleneck=networks.width if networks else 0,
        longest=min((size for size in (job.chunk, _reads(base)) if size), default=None),
        max_tokens=job.max_tokens,
        ending=max(job.tail_tokens, len(tokenizer.frame[1])),
        num_labels=len(job.labels),
        auto_map={
            "AutoConfig": f"{code}.{ClinfuseConfig.__name__}",
            "AutoModelForSequenceClassification": (
                f"{code}.{ClinfuseForSequenceClassification.__name__}"
            ),
        },
    )
    with no_init_weights():  # else transformers draws anew what it did not load, as networks are
        model = ClinfuseForSequenceClassification(config, inner)
    model.head.load_state_dict(head_tensors(heads, job.outcome))
    model.scaling.load_state_dict(heads.scaling.state_dict())
    return model


def _settings(head: HeadConfig) -> dict[str, Any]:
    """What a head is made from beside its width and its labels."""
    match head:
        case LabelAttentionConfig():
            return {}
        case LinearConfig(pool=pool):
            return {"pool": pool}
        case AdapterConfig() | GatedResidualConfig():
            return {"pool": head.pool, "bottleneck": head.bottleneck, "dropout": 0.0}
        case LightweightConfig():
            return {"pool": head.pool, "bottleneck": head.bottleneck}
        case TinyAttentionConfig():
            return {"pool": head.pool, "heads": head.attention_heads, "size": head.size}


def _networks(heads: Heads) -> Bottlenecks | None:
    """The small networks on the base, if that is what was trained."""
    task = heads.task if isinstance(heads, Classifier) else None
    return task if isinstance(task, Bottlenecks) else None


def _places(networks: Bottlenecks, base: Base, inner: PreTrainedModel) -> Sequence[tuple[str, str]]:
    """Where the networks stand, by the names that the trunk itself has for its layers."""
    path = next(name for name, part in base.model.named_modules() if part is inner)
    return [(layer.removeprefix(f"{path}."), end) for layer, end in networks.places]


def _reads(base: Base) -> int | None:
    """How many tokens the base reads at once; None: any number, or it is not known."""
    return base.longest if isinstance(base, Encoder) else None


def _copy_code(source: Path, out: Path, name: str | None = None) -> None:
    """Copy a module and those of ours that it imports, which then are beside it."""
    code = source.read_text()
    (out / (name or source.name)).write_text(_IMPORT.sub(r"from .\2 import ", code))
    for package, module in _IMPORT.findall(code):
        folder = Path(*package.split(".")[1:])
        _copy_code(Path(tasks.__path__[0]) / folder / f"{module}.py", out)


def _described(inner: PreTrainedModel) -> dict[str, Any]:
    """The configuration of a trunk, as far as it says how the trunk computes."""
    config: dict[str, Any] = inner.config.to_dict()
    for name in ("_name_or_path", "architectures", "transformers_version", "auto_map", "dtype"):
        config.pop(name, None)
    layers = config.get("num_hidden_layers")
    if isinstance(config.get("layer_types"), list):  # of a trunk that was cut
        config["layer_types"] = config["layer_types"][:layers]
    return config


def _write_tokenizer(
    out: Path, folder: Path, tokenizer: LoadedTokenizer, max_tokens: int | None
) -> None:
    """Write the tokenizer so that transformers, too, takes "<s>" in a note for text."""
    ids = {"pad": tokenizer.pad, "eos": tokenizer.eos, "bos": tokenizer.bos}
    named = {f"{name}_token": tokenizer.tokenizer.id_to_token(ids[name]) for name in ids}
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=read_tokenizer(folder),
        **named,
        split_special_tokens=True,
        padding_side="right",
        truncation_side="right",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=max_tokens or int(1e30),
    ).save_pretrained(out)


def _left_out(inner: PreTrainedModel) -> Sequence[str]:
    """The parts of a trunk that were cut off, in whose place is nothing."""
    cut = any(hasattr(module, CUT) for module in inner.modules())
    names = [name for name, module in inner.named_modules() if isinstance(module, nn.Identity)]
    return names if cut else ()
