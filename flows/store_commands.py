"""The part of the command that looks into a store: ls, du, show, lineage, gc, verify.

Nothing heavy is imported here: they start without Prefect and without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from platformdirs import user_data_path

from tasks import garbage, inspection
from tasks.printable import printable
from tasks.store import Store

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="CLINFUSE_STORE",
        help="The folder of artifacts. Patients' text is in it: keep it where the notes may be.",
    ),
]
DEFAULT_STORE = user_data_path("clinfuse") / "store"

store_app = typer.Typer()


def open_store(folder: Path) -> Store:
    """The store, to be looked into; one that cannot be written will do."""
    return Store(folder.expanduser(), read_only=True)


@store_app.command(name="ls")
def list_artifacts(
    store: StoreOption = DEFAULT_STORE,
    kind: Annotated[str | None, typer.Option(help="Only artifacts of this kind.")] = None,
) -> None:
    """List the artifacts of the store, oldest first."""
    opened = open_store(store)
    manifests = opened.manifests()
    typer.echo(f"{'kind':<17} {'key':<17} {'made':<20} {'MiB':>8} {'seconds':>8}  counts")
    for manifest in manifests:
        if kind in (None, manifest.kind):
            counts = ", ".join(f"{name} {value}" for name, value in manifest.counts.items())
            line = (
                f"{manifest.kind:<17} {manifest.key:<17} {manifest.created[:19]:<20} "
                f"{manifest.bytes / 2**20:>8.1f} {manifest.seconds:>8.1f}  {counts}"
            )
            typer.echo(printable(line))
    if unread := len(opened.folders()) - len(manifests):
        typer.echo(f"{unread} more cannot be read; `clinfuse verify` says why", err=True)


@store_app.command()
def du(store: StoreOption = DEFAULT_STORE) -> None:
    """Tell how much of the disk each kind of artifact takes, and what is beside artifacts."""
    parts = inspection.disk_use(open_store(store))
    typer.echo(f"{'kind':<22} {'artifacts':>9} {'MiB':>10}")
    for part in parts:
        count = "" if part.artifacts is None else part.artifacts
        typer.echo(f"{printable(part.name):<22} {count:>9} {part.bytes / 2**20:>10.1f}")
    artifacts = sum(part.artifacts or 0 for part in parts)
    size = sum(part.bytes for part in parts) / 2**20
    typer.echo(f"{'all':<22} {artifacts:>9} {size:>10.1f}")


@store_app.command()
def show(key: str, store: StoreOption = DEFAULT_STORE) -> None:
    """Show an artifact's manifest: what it is, its files, config, inputs, and who made it."""
    opened = open_store(store)
    manifest = inspection.resolve(opened, key)
    for line in manifest.model_dump_json(indent=2).split("\n"):
        typer.echo(printable(line))
    typer.echo(printable(str(opened.path(manifest.kind, manifest.key))), err=True)


@store_app.command()
def lineage(key: str, store: StoreOption = DEFAULT_STORE) -> None:
    """Draw what an artifact was made from, down to the source."""
    opened = open_store(store)
    for depth, name, remark in inspection.lineage(opened, inspection.resolve(opened, key)):
        typer.echo("   " * depth + printable(name) + (f"   ({remark})" if remark else ""))


@store_app.command()
def gc(
    store: StoreOption = DEFAULT_STORE,
    keep_runs: Annotated[
        int,
        typer.Option(
            help="Keep all that the last N runs of each deployment reached (of runs from the "
            "terminal: of each flow).",
            min=0,
        ),
    ] = 10,
    older_than: Annotated[float, typer.Option(help="Days; what is younger stays.")] = 1.0,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete; without it, only tell.")
    ] = False,
) -> None:
    """Tell (or delete) what no deployment's last runs reached, and what interrupted runs left."""
    opened = open_store(store)
    pieces = garbage.garbage(opened, keep_runs, older_than)
    if delete:
        pieces = garbage.sweep(opened, pieces)
    for piece in pieces:
        typer.echo(f"{'deleted' if delete else 'would delete'} {printable(piece.what)}")
    size = sum(piece.bytes for piece in pieces) / 2**20
    typer.echo(f"{len(pieces)} pieces, {size:.1f} MiB" + ("" if delete else "; nothing deleted"))


@store_app.command()
def verify(store: StoreOption = DEFAULT_STORE) -> None:
    """Read every file of every artifact and compare it with its manifest."""
    opened = open_store(store)
    folders = opened.folders()
    wrong = 0
    for link in inspection.links(opened):
        wrong += 1
        typer.echo(printable(f"{link.relative_to(opened.root)} is a link, which is not followed"))
    for folder in folders:
        for problem in inspection.damaged(folder):
            wrong += 1
            typer.echo(printable(f"{folder.parent.name}/{folder.name}/{problem}"))
    typer.echo(f"{len(folders)} artifacts, {wrong} damaged files")
    if wrong:
        typer.echo("delete a damaged artifact's folder, and the next run makes it anew", err=True)
        raise typer.Exit(1)
