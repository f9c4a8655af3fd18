"""The two kinds of configuration model: what decides an artifact's key, and what does not."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen configuration that refuses unknown keys; its values are part of an artifact's key.

    Tuples, never sets: a set's order differs between processes, and so would the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Unkeyed(Config):
    """A configuration of how a step runs, not of what it makes; it stays out of the key."""
