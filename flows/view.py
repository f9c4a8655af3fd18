"""The store's reports as web pages on this machine, because a browser opens no file:// link.

What the report, leaderboard and audit steps wrote are aggregates, no text and no identifiers. The
pages of evidence show patients' text: only to who knows the address that is printed when serving
begins, since every user of a machine can connect to its ports. Only to this machine, and only read.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import ClinfuseError
from tasks.guard import guarded
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
_HEADERS |= {"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
EVIDENCE = "/evidence"  # where the pages begin that show patients' text
_COOKIE = "clinfuse-view"
_UNKNOWN = (
    "These pages show patients' text. Open them by the address that `clinfuse view` printed when "
    "it was started."
)


def page_url(artifact: Artifact) -> str:
    """Where `clinfuse view` shows the artifact's page; CLINFUSE_VIEW_URL names another address."""
    root = os.environ.get("CLINFUSE_VIEW_URL", f"http://127.0.0.1:{PORT}").rstrip("/")
    return f"{root}/{artifact.kind}/{artifact.key}/{KINDS[artifact.kind]}"


def new_token() -> str:
    """What the address of the pages that show patients' text ends with; nobody can guess it."""
    return secrets.token_urlsafe(24)


def serve(store: Store, port: int, token: str) -> None:
    """Serve the pages on this machine until we are stopped."""
    import uvicorn

    uvicorn.run(pages(store, token), host="127.0.0.1", port=port, log_level="warning")


def pages(store: Store, token: str) -> Starlette:
    """The pages as an application: a list of the reports, their files, and the evidence.

    Args:
        token: without it, in the address or in the cookie that it is exchanged for, there is no
            evidence.
    """
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

    def evidence(request: Request) -> Response:
        if given := request.query_params.get("token"):
            # out of the address, which browsers remember
            response = Response(None, 303, _HEADERS | {"Location": request.url.path})
            response.set_cookie(_COOKIE, given, path=EVIDENCE, httponly=True, samesite="strict")
            return response
        if not secrets.compare_digest(request.cookies.get(_COOKIE, "").encode(), token.encode()):
            return PlainTextResponse(_UNKNOWN, 403, _HEADERS)
        try:
            page = guarded("view", lambda: _evidence(store, **request.path_params))
        except ClinfuseError as error:
            return PlainTextResponse(str(error), 500, _HEADERS)
        if page is None:
            return PlainTextResponse("There is no such evidence in the store.", 404, _HEADERS)
        return HTMLResponse(page, headers=_HEADERS)

    # a page of elsewhere whose name is made to mean this machine names another host
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(
        routes=[
            Route("/", index),
            Route(EVIDENCE, evidence),
            Route(f"{EVIDENCE}/{{key}}", evidence),
            Route(f"{EVIDENCE}/{{key}}/{{number:int}}", evidence),
            Route("/{kind}/{key}/{name}", file),
        ],
        middleware=[hosts],
    )


def _evidence(store: Store, key: str | None = None, number: int | None = None) -> str | None:
    """A page of evidence; None where there is none of that key and number."""
    from flows.evidence_pages import Evidence, case_page, cases_page, list_page

    if key is None:
        return list_page(store)
    found = Evidence.find(store, key)
    if found is None:
        return None
    if number is None:
        return cases_page(found)
    return case_page(found, found.cases[number]) if number < len(found.cases) else None


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
    manifests = store.manifests()
    rows = "".join(_row(manifest) for manifest in reversed(manifests))
    if any(manifest.kind == "evidence" for manifest in manifests):
        rows += f"</table><p><a href={EVIDENCE}>Evidence</a> (patients' text)"
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
