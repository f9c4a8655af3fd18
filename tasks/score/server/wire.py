"""What a request and an answer of the server hold."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Annotated

import numpy as np
import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.score.calibration import Labels
from tasks.score.member import ScoredMember
from tasks.score.scorer import Scores

MOST_TEXTS = 256  # of a request
_MOST_OUTCOMES = 64
_Name = Annotated[str, Field(min_length=1, max_length=128)]


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half a character (a lone surrogate)") from None
    return text


class Request(BaseModel):
    """Texts, and what is wanted of them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    texts: list[Annotated[str, AfterValidator(_whole)]] = Field(min_length=1, max_length=MOST_TEXTS)
    """Each as the model was trained on: of a demo model the admission's sections"""
    model: _Name | None = None
    """Its name or key, or the key's first characters; may be left out where only one model that is
    served has the outcomes"""
    outcomes: list[_Name] = Field(default=[], max_length=_MOST_OUTCOMES)
    """Those that are wanted; empty: all that the model has"""


class Label(BaseModel):
    """What a probability is of."""

    code_system: str
    code: str
    title: str | None


class Predicted(BaseModel):
    """An outcome of the request's texts."""

    labels: list[Label]
    one_of: bool
    """They are classes, of which an admission has exactly one; each is calibrated by itself"""
    probabilities: list[list[float]]
    """[texts, labels], calibrated on validation patients"""
    flagged: list[list[bool]]
    """[texts, labels]: whether the threshold with the best F1 on validation patients is reached"""


class Answer(BaseModel):
    """The scores of a request's texts, by outcome."""

    model: str
    """The model's key"""
    name: str
    outcomes: dict[str, Predicted]


class Outcome(BaseModel):
    """An outcome that a model predicts."""

    outcome: str
    labels: int
    one_of: bool


class Model(BaseModel):
    """A model that is served."""

    model: str
    """Its key"""
    name: str
    loaded: bool
    """Whether its weights are in memory; if not, the next request loads them"""
    outcomes: list[Outcome]


class Models(BaseModel):
    """The models that are served."""

    models: list[Model]


class Health(BaseModel):
    """The server answers."""

    status: str = "ok"


class Problem(BaseModel):
    """What was wrong; nothing of the request is quoted."""

    detail: str


def answer(member: ScoredMember, scores: dict[str, Scores]) -> bytes:
    """An `Answer` as JSON."""
    outcomes = {
        outcome: {
            "labels": _labels(of.labels),
            "one_of": of.labels.one_of,
            "probabilities": of.probabilities.astype(np.float32),
            "flagged": np.ascontiguousarray(of.flagged),
        }
        for outcome, of in scores.items()
    }
    told = {"model": member.key, "name": member.name, "outcomes": outcomes}
    return orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)


def described(member: ScoredMember, held: Collection[str]) -> Model:
    """A member as it is listed. Args: held: the keys of those in memory."""
    outcomes = [
        Outcome(outcome=name, labels=len(of.labels), one_of=of.labels.one_of)
        for name, of in member.outcomes.items()
    ]
    return Model(model=member.key, name=member.name, loaded=member.key in held, outcomes=outcomes)


@cache
def _labels(labels: Labels) -> orjson.Fragment:
    """They are the same in every answer."""
    rows = zip(labels.code_systems, labels.codes, labels.titles, strict=True)
    return orjson.Fragment(
        orjson.dumps([dict(zip(Label.model_fields, row, strict=True)) for row in rows])
    )
