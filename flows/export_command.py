"""The command `clinfuse export`: a trained member, for programs that do not know clinfuse."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.store_commands import DEFAULT_STORE, StoreOption, open_store

export_app = typer.Typer()


class Precision(StrEnum):
    """In what the merged weights are kept."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@export_app.command()
def export(
    key: Annotated[str, typer.Argument(help="Of a task-adapter, or its first characters.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; a new folder.")],
    outcome: Annotated[
        str | None, typer.Option(help="Whose labels; where the member has several outcomes.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="The base's folder, where it is not where it was.")
    ] = None,
    dtype: Annotated[
        Precision, typer.Option(help="Of the merged weights; anything but float32 rounds them.")
    ] = Precision.float32,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a trained member for transformers, PEFT and servers of LoRA.

    DIR/merged loads by `transformers.pipeline("text-classification", ...)`, DIR/fused is all of its
    adapters as one LoRA, DIR/adapters has each as it is. They are as sensitive as the notes.
    """
    from tasks.export.export import export as export_to

    written = export_to(open_store(store), key, folder, outcome, base, dtype.value)
    for reason in filter(None, (written.not_merged, written.not_fused)):
        typer.echo(f"left out: {reason}", err=True)
    if written.difference is not None:
        typer.echo(
            f"merged/: logits differ from the member's by at most {written.difference:.1g}"
            + ("; it comes with code of its own (trust_remote_code=True)" * written.own_code)
        )
    if written.rank is not None:
        typer.echo(
            f"fused/: one LoRA of rank {written.rank}" + ", and the head" * written.with_head
        )
    typer.echo(f"written to {folder}")
