"""The two kinds of configuration model: those that are part of an artifact's key, and others."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Config(BaseModel):
    """A frozen configuration that refuses unknown keys; its values are part of an artifact's key.

    Tuples, never sets: a set's order differs between processes, and so would the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Unkeyed(Config):
    """A configuration of how a step runs, not of what it makes; it is not part of the key."""


def _kind_alone(given: Any) -> Any:
    return {"kind": given} if isinstance(given, str) else given


# for the discriminator of a union of kinds: `view: full` is short for `view: {kind: full}`
KIND_ALONE = BeforeValidator(_kind_alone)
