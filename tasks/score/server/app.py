"""The application: trained members behind HTTP.

No text of a request is kept, logged, or quoted in an error.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request as HttpRequest
from starlette.types import ASGIApp

from tasks.errors import ClinfuseError
from tasks.score.scorer import Asked, Scorer
from tasks.score.server import wire
from tasks.score.server.batching import Batching, Full
from tasks.score.server.border import Border
from tasks.score.server.meters import CONTENT_TYPE, Meters
from tasks.score.server.served import Served, UnknownModel

MOST_BYTES = 1 << 20  # of a request
LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]

_BAD = {
    400: "The body cannot be read",
    401: "No or another API key",
    422: "The request is not as declared",
}
_REFUSED = {404: "No such model or outcome", 413: "Too large", 500: "Failed", 503: "Too busy"}

log = logging.getLogger(__name__)


def application(
    scorer: Scorer,
    served: Served,
    *,
    api_key: str | None = None,
    most_bytes: int = MOST_BYTES,
    batching: Batching | None = None,
) -> ASGIApp:
    """The server's ASGI application; without an API key it answers this machine alone."""
    meters = Meters()
    queue = batching or Batching(scorer.answer, batched=meters.batched)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with queue.running():
            yield

    app = FastAPI(
        title="clinfuse",
        version=version("clinfuse"),
        lifespan=lifespan,
        docs_url=None,  # the page would load scripts from elsewhere
        redoc_url=None,
    )
    keyed = [Security(HTTPBearer(auto_error=False))] if api_key else []  # all but /health
    app.add_exception_handler(RequestValidationError, _say_where)
    app.add_exception_handler(HTTPException, _say)
    if api_key is None:  # a page of elsewhere whose name is made to mean this machine
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)

    @app.post(
        "/v1/predict",
        dependencies=keyed,
        responses=_problems(*_BAD, *_REFUSED),
        response_model=wire.Answer,
    )
    async def predict(request: wire.Request) -> Response:
        """Score texts with a model: calibrated probabilities, and flags, of each label."""
        try:
            member = served.find(request.model, request.outcomes)
        except UnknownModel as unknown:
            raise HTTPException(404, str(unknown)) from None
        try:
            scores = await queue.score(Asked(request.texts, member.key, request.outcomes))
        except Full:
            words = "too many texts are waiting; ask again later"
            raise HTTPException(503, words, {"Retry-After": "1"}) from None
        except ClinfuseError as error:
            log.error("%s", error)
            words = "the model could not be used; the server's log says why"
            raise HTTPException(500, words) from None
        meters.predicted(member.key, len(request.texts))
        return Response(wire.answer(member, scores), media_type="application/json")

    @app.get("/v1/models", dependencies=keyed, responses=_problems(401))
    async def models() -> wire.Models:
        """The models that are served, and what they predict."""
        held = scorer.held
        return wire.Models(
            models=[wire.described(member, held) for member in served.members.values()]
        )

    @app.get("/health")
    async def health() -> wire.Health:
        """Whether the server answers; needs no key."""
        return wire.Health()

    @app.get("/metrics", dependencies=keyed, response_class=Response, responses=_metrics())
    async def metrics() -> Response:
        """Counts, in Prometheus's text format."""
        meters.waiting.set(queue.waiting_texts)
        meters.members.set(len(scorer.held))
        meters.bases.set(scorer.bases)
        return Response(meters.page(), media_type=CONTENT_TYPE)

    return Border(app, api_key=api_key, most_bytes=most_bytes, answered=meters.request)


def _problems(*statuses: int) -> dict[int | str, dict[str, object]]:
    words = _BAD | _REFUSED
    return {status: {"model": wire.Problem, "description": words[status]} for status in statuses}


def _metrics() -> dict[int | str, dict[str, object]]:
    return {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_problems(401)}


async def _say_where(_: HttpRequest, error: Exception) -> Response:
    """Where a request is not as declared; pydantic would repeat what stands there."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(_known(first["loc"]))
    return JSONResponse({"detail": f"{where}: {first['msg']}"}, 422)


def _known(location: Sequence[int | str]) -> list[str]:
    """A place in a request by the names that it should have, and by numbers; another is left out.

    >>> _known(["body", "texts", 3]), _known(["body", "Jane Doe"])
    (['body', 'texts', '3'], ['body', '...'])
    """
    names = ("body", *wire.Request.model_fields)
    return [str(part) if isinstance(part, int) or part in names else "..." for part in location]


async def _say(_: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
