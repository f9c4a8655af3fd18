"""What is read of a note that is longer than is read at once: a union, without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.config import KIND_ALONE, Config


class Head(Config):
    """The first `max_tokens` of a note."""

    kind: Literal["head"] = "head"


class HeadAndTail(Config):
    """The first and the last tokens of a note, `max_tokens` together (Sun et al. 2019)."""

    kind: Literal["head_tail"] = "head_tail"
    tail_share: float = Field(default=0.5, ge=1 / 8, le=7 / 8)
    """Share of max_tokens that are a long note's last; Sun et al. took three quarters"""


class InChunks(Config):
    """The first `max_tokens` of a note, a decoder reading them in chunks that overlap by a quarter.

    A token's state is from the first chunk that has it; the note's first token begins each.
    """

    kind: Literal["chunks"] = "chunks"
    tokens: int | None = Field(default=None, ge=8)
    """Of a chunk, at most; empty: as many as the base has positions for. An encoder, which always
    reads long notes in chunks, has smaller ones, too"""


LongNotes = Annotated[Head | HeadAndTail | InChunks, Field(discriminator="kind"), KIND_ALONE]
