"""The store's reports as web pages on this machine, because a browser opens no file:// link.

Only what the report, leaderboard and audit steps wrote is served: aggregates, no text and no
identifiers. Only to this machine, and only read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.keys import Artifact
from tasks.store import Manifest, Store

if TYPE_CHECKING:  # taken from Prefect's dependencies, and not needed by other commands
    from starlette.applications import Starlette
    from starlette.requests import Request

PORT = 4280
KINDS = {
    "report": "report.html",
    "leaderboard": "report.html",
    "leaks": "leaks.md",
    "memory": "memory.md",
}
_TYPES = {".html": "text/html", ".md": "text/plain", ".json": "application/json"}
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def page_url(artifact: Artifact) -> str:
    """Where `clinfuse view` shows the artifact's page; CLINFUSE_VIEW_URL names another address."""
    root = os.environ.get("CLINFUSE_VIEW_URL", f"http://127.0.0.1:{PORT}").rstrip("/")
    return f"{root}/{artifact.kind}/{artifact.key}/{KINDS[artifact.kind]}"


def serve(store: Store, port: int) -> None:
    """Serve the reports on this machine until we are stopped."""
    import uvicorn

    uvicorn.run(pages(store), host="127.0.0.1", port=port, log_level="warning")


def pages(store: Store) -> Starlette:
    """The pages as an application: a list of the reports, and their files."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route

    def index(request: Request) -> Response:
        return HTMLResponse(_index(store), headers=_HEADERS)

    def file(request: Request) -> Response:
        path = _path(store, **request.path_params)
        if path is None:
            return PlainTextResponse("There is no such report in the store.", 404, _HEADERS)
        kind = f"{_TYPES[path.suffix]}; charset=utf-8"
        return Response(path.read_bytes(), media_type=kind, headers=_HEADERS)

    # a page of elsewhere whose name is made to mean this machine names another host
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(
        routes=[Route("/", index), Route("/{kind}/{key}/{name}", file)], middleware=[hosts]
    )


def _path(store: Store, kind: str, key: str, name: str) -> Path | None:
    """The file, if it is one of a report that its manifest names."""
    if kind not in KINDS or not key.isalnum() or Path(name).suffix not in _TYPES:
        return None
    manifest = store.manifest(kind, key)
    if manifest is None or all(file.name != name for file in manifest.files):
        return None
    path = store.path(kind, key) / name
    return path if path.is_file() and not path.is_symlink() else None


def _index(store: Store) -> str:
    rows = "".join(_row(manifest) for manifest in reversed(store.manifests()))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>clinfuse: reports</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
        "padding:0 1rem}td,th{text-align:left;padding:.2rem 1.2rem .2rem 0}</style>"
        f"<h1>Reports</h1><table><tr><th>Made<th>Run<th>Pages</tr>{rows}</table>"
    )


def _row(manifest: Manifest) -> str:
    if manifest.kind not in KINDS:
        return ""
    name = manifest.config.get("run") or manifest.config.get("name") or manifest.kind
    pages = " ".join(_links(manifest))
    return f"<tr><td>{escape(manifest.created[:16])}<td>{escape(str(name))}<td>{pages}</tr>"


def _links(manifest: Manifest) -> Iterator[str]:
    for file in manifest.files:
        if Path(file.name).suffix in (".html", ".md"):
            href = escape(f"/{manifest.kind}/{manifest.key}/{file.name}", quote=True)
            yield f'<a href="{href}">{escape(file.name)}</a>'
