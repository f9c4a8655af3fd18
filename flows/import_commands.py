"""The commands `clinfuse import ...`: a public corpus becomes a source in MIMIC-IV's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import_app = typer.Typer(
    no_args_is_help=True, help="Lay a public corpus out as MIMIC-IV's tables, to run the chain on."
)

OutArgument = Annotated[
    Path, typer.Argument(help="Where to write; a new folder, or one of other imported corpora.")
]


@import_app.command()
def codiesp(
    folder: Annotated[Path, typer.Argument(help="What codiesp.zip of Zenodo unpacks to.")],
    out: OutArgument,
) -> None:
    """Write OUT/codiesp, 1,000 coded cases, and OUT/codiesp-background, to pretrain on.

    CodiEsp v4 is at https://zenodo.org/records/3837305 (CC BY 4.0). Sex, age and dates are made
    up. Background cases that are nearly a labelled one are left to `ingest.guard`.
    """
    from tasks.imports.codiesp import import_codiesp

    made = import_codiesp(folder, out)
    splits = ", ".join(f"{count} {split}" for split, count in made.cases.items())
    typer.echo(f"{splits}; {made.diagnoses} diagnoses, {made.procedures} procedures")
    typer.echo(f"{made.background} background cases")
    typer.echo(f"written to {out / 'codiesp'} and {out / 'codiesp-background'}")


@import_app.command()
def e3c(
    folder: Annotated[Path, typer.Argument(help="A checkout of the corpus.")], out: OutArgument
) -> None:
    """Write OUT/e3c: E3C's English documents under CC BY, to pretrain on.

    The corpus is at https://github.com/hltfbk/E3C-Corpus. Sex, age and dates are made up.
    OUT/e3c/documents.csv.gz has each document's licence, journal and address, for attribution.
    """
    from tasks.imports.e3c import import_e3c

    made = import_e3c(folder, out)
    typer.echo(
        f"{made.documents} documents under CC BY; left out {made.left_out}: of another licence, "
        "or a text that is there already"
    )
    typer.echo(f"written to {out / 'e3c'}")
