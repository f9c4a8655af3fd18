"""What the exporting program is told, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tasks.config import Config
from tasks.model.adapters.fusions import Fusion

Dtype = Literal["float32", "bfloat16", "float16"]


class ExportJob(Config):
    """A member to be written in the form that others load, and where its parts are."""

    base: Path
    layer: int | None = None  # whose states the heads read
    words: bool = False  # joined with the tokens' own embeddings
    chunk: int | None = None  # tokens that the base reads at once; None: what it can
    summands: Mapping[str, Path] = {}  # the adapters beside the task adapter, in order
    weights: Mapping[str, float] = {}  # of the summands; absent: 1
    fusions: Mapping[str, Fusion] = {}  # of the summands; absent: frozen
    member: Path  # a task-adapter artifact: the task adapter, if there is one, and the heads
    frozen: bool  # whether there is none
    tokenizer: Path
    max_tokens: int | None
    tail_tokens: int = 0  # so many of them are a longer note's last
    outcome: str
    labels: tuple[str, ...]  # the name of each logit
    one_of: bool  # classes, of which an admission has exactly one
    dtype: Dtype = "float32"  # of the merged weights on disk

    def adapter(self, summand: str) -> Path:
        """The PEFT directory of a summand, or of its copy that went on learning with the member."""
        copy = self.member / summand
        return copy if copy.is_dir() else self.summands[summand]


class Exported(Config):
    """What the program wrote, and why it did not write the rest."""

    own_code: bool = False  # whether transformers has no class for the model
    difference: float | None = None  # the largest of logits, loaded back, on texts of random tokens
    not_merged: str = ""  # why there is no merged model
    rank: int | None = None  # of the fused adapter
    with_head: bool = False  # whether the head is part of that
    with_bias: bool = False  # which transformers' own heads have not
    not_fused: str = ""  # why there is none
