"""The two kinds of configuration model: what decides an artifact's key, and what does not."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Config(BaseModel):
    """A frozen configuration that refuses unknown keys; its values are part of an artifact's key.

    Tuples, never sets: a set's order differs between processes, and so would the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Unkeyed(Config):
    """A configuration of how a step runs, not of what it makes; it stays out of the key."""


def _kind_alone(given: Any) -> Any:
    return {"kind": given} if isinstance(given, str) else given


# beside the discriminator of a union of kinds: `view: full` is short for `view: {kind: full}`
KIND_ALONE = BeforeValidator(_kind_alone)
