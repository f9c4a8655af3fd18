"""Which base is adapted: a union of where it comes from, without torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.config import KIND_ALONE, Config
from tasks.errors import ModelError
from tasks.training.config import TrainingConfig

Group = Literal["attention", "ffn"]  # of linear layers, whatever an architecture calls them
Targets = Literal["all-linear"] | Group | tuple[str, ...]  # which layers an adapter changes


class ScratchBase(Config):
    """A small LLaMA and its tokenizer, made from nothing: the demo's base."""

    kind: Literal["scratch"] = "scratch"
    corpus: Path
    """Text without clinical notes, which the base is trained on: a file whose documents are parted
    by blank lines, or a folder of datasets' save_to_disk with a column 'text'. Clinical notes reach
    the clinical adapter only"""
    vocabulary_size: int = Field(default=2000, ge=260)
    """Tokens of the byte-level BPE, the 3 special ones too"""
    hidden_size: int = Field(default=64, ge=8)
    """Width of the model"""
    layers: int = Field(default=2, ge=1)
    """Transformer blocks"""
    heads: int = Field(default=4, ge=1)
    """Attention heads of a block"""
    # the model works on longer texts than it was trained on only as far as its rotary positions
    # were seen, so train it as long as the notes will be
    sequence_length: int = Field(default=256, ge=8)
    """Tokens of a packed training sequence"""
    max_positions: int = Field(default=2048, ge=8)
    """Longest text that the model may later be given, in tokens"""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the corpus"""
    training: TrainingConfig = TrainingConfig(learning_rate=3e-3, batch_size=32, schedule="cosine")
    """How the base is trained"""

    @model_validator(mode="after")
    def _fits_together(self) -> "ScratchBase":
        if self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size must be an even multiple of heads (rotary positions)")
        if self.sequence_length > self.max_positions:
            raise ValueError("sequence_length is above max_positions; raise max_positions")
        return self


class GgufBase(Config):
    """A causal language model in one GGUF file, as llama.cpp has them; quantized weights count."""

    kind: Literal["gguf"] = "gguf"
    file: Path
    """The file, its tokenizer in it; it is converted once"""


Quantization = Literal["4bit", "8bit"]  # of the weights of linear layers


class Quantizable(Config):
    """A base that is taken as it is, or with fewer bits a weight."""

    quantization: Quantization | None = None
    """Keep a decoder's linear layers, but for the output layer, in 4 bits (NF4, scales quantized,
    too) or 8 by bitsandbytes: a copy is made once, and adapters learn on that. Empty: as it is"""


class PathBase(Quantizable):
    """A language model in a local Hugging Face directory."""

    kind: Literal["path"] = "path"
    path: Path
    """The directory: config.json, *.safetensors, a tokenizer"""

    @property
    def name(self) -> tuple[str, str] | None:
        """The id and the revision by which others know the base; None: it has none."""
        return None

    def folder(self) -> Path:
        """The Hugging Face directory."""
        return self.path


class HubBase(Quantizable):
    """A language model of the Hugging Face hub; the only thing that is ever downloaded."""

    kind: Literal["hub"] = "hub"
    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """E.g. huggyllama/llama-7b"""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """A commit, so that the same configuration gives the same model"""

    @property
    def name(self) -> tuple[str, str] | None:
        return self.id, self.revision

    def folder(self) -> Path:
        """The snapshot in the user's own Hugging Face cache; a download only where it lacks."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(
                snapshot_download(
                    self.id,
                    revision=self.revision,
                    allow_patterns=["*.json", "*.safetensors", "tokenizer.model"],
                )
            )
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            raise ModelError(
                f"{self.id} cannot be downloaded ({type(error).__name__}); download it by hand and "
                "set pretrain.base to kind: path, or unset HF_HUB_OFFLINE"
            ) from None


GivenBase = PathBase | HubBase  # made elsewhere, and taken as it is
BaseConfig = Annotated[ScratchBase | GgufBase | GivenBase, Field(discriminator="kind"), KIND_ALONE]


def base_title(base: ScratchBase | GgufBase | GivenBase) -> str:
    """What a table calls a base; no path of this machine.

    >>> base_title(HubBase(id="huggyllama/llama-7b", revision="0" * 40))
    'huggyllama/llama-7b'
    >>> base_title(PathBase(path=Path("models/llama-7b"), quantization="4bit"))
    'llama-7b, 4bit'
    """
    match base:
        case ScratchBase():
            return f"scratch, {base.layers} x {base.hidden_size}"
        case GgufBase():
            return base.file.stem
        case PathBase():
            title = base.path.name
        case HubBase():
            title = base.id
    return f"{title}, {base.quantization}" if base.quantization else title
