"""The command `clinfuse serve`: trained members behind HTTP."""

from __future__ import annotations

import logging
import os
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from flows.store_commands import DEFAULT_STORE, StoreOption, open_store
from tasks.errors import ConfigError

PORT = 4281
KEY = "CLINFUSE_API_KEY"

serve_app = typer.Typer()


@serve_app.command()
def serve(
    run: Annotated[
        str | None, typer.Option(help="Serve the members of the last evaluated run of this name.")
    ] = None,
    member: Annotated[
        list[str] | None,
        typer.Option(help="With --run a member's name, else its key; may be repeated."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    host: Annotated[
        str, typer.Option(help=f"Where to listen; beyond this machine only with {KEY} set.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = PORT,
    base: Annotated[
        Path | None, typer.Option(help="The base's folder, where it is not where it was.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1; default: the GPU, if there is one.")
    ] = None,
    most_members: Annotated[
        int, typer.Option(help="Members whose adapters and heads are in memory at once.", min=1)
    ] = 32,
) -> None:
    """Answer requests for scores: POST /v1/predict; GET /v1/models, /health, /metrics.

    Without --run and --member all trained members of the store are served. With CLINFUSE_API_KEY
    set, requests give it: `Authorization: Bearer KEY`. SIGTERM ends it when all is answered.
    """
    api_key = os.environ.get(KEY) or None
    if api_key is None and not _is_this_machine(host):
        raise ConfigError(f"--host {host} is reached from elsewhere; set {KEY} to a secret first")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("tasks").setLevel(logging.INFO)
    from tasks.score.scorer import Scorer
    from tasks.score.server.listen import listen, served_from

    scorer = Scorer(open_store(store), device=device, most_members=most_members, base=base)
    served = served_from(scorer, run, member or [])

    def say(address: str) -> None:
        typer.echo(f"{len(served.members)} models at {address}  (Ctrl-C ends it)")

    listen(scorer, served, host, port, api_key, say)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
