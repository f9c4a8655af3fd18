"""What gets in and out: the key, the size of a request, and no word of it in an error or a log."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.guard import failure_of

OPEN = ("/health", "/openapi.json")  # without a key
_UNKNOWN = "unknown"

log = logging.getLogger(__name__)


class Border:
    """Around the whole application, its own error handling among it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        api_key: str | None,
        most_bytes: int,
        answered: Callable[[str, int, float], None],
    ) -> None:
        """
        Args:
            api_key: which every request has to give; None: none has to.
            most_bytes: of a request's body.
            answered: is told the route, the status, and the seconds of each request.
        """
        self.app, self.most_bytes, self.answered = app, most_bytes, answered
        self._expected = None if api_key is None else f"bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, sending)
        except Exception as error:  # uvicorn would log it, message and all
            log.error("%s", failure_of("serve", error))
            if not status:
                await _problem(500, "the server failed; its log says where")(
                    scope, receive, sending
                )
        seconds, route = time.perf_counter() - began, _route(scope)
        log.info("%s %s %d %.0f ms", _method(scope), route, status, seconds * 1000)
        self.answered(route, status, seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if scope["path"] not in OPEN and not self._knows(headers.get(b"authorization", b"")):
            words = "the header 'Authorization: Bearer KEY' is missing, or has another key"
            refusal = _problem(401, words, {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
        elif _number(headers.get(b"content-length", b"")) > self.most_bytes:
            await _problem(413, self._too_large)(scope, receive, send)
        else:
            await self.app(scope, self._bounded(receive), send)

    def _knows(self, given: bytes) -> bool:
        if self._expected is None:
            return True
        scheme, _, key = given.partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + key.strip(), self._expected)

    def _bounded(self, receive: Receive) -> Receive:
        """Of a body that comes in parts, no more is taken in than may."""
        taken = 0

        async def receiving() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.most_bytes:
                raise HTTPException(413, self._too_large)
            return message

        return receiving

    @property
    def _too_large(self) -> str:
        return f"a request has at most {self.most_bytes} bytes; send fewer texts at a time"


def _problem(status: int, words: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": words}, status, headers)


def _number(header: bytes) -> int:
    return int(header) if header.isdigit() else 0


def _route(scope: Scope) -> str:
    """As it is declared: a path that was asked for may hold anything."""
    route = scope.get("route")
    return getattr(route, "path", _UNKNOWN)


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in ("GET", "POST", "HEAD", "OPTIONS") else _UNKNOWN
