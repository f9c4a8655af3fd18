"""Which members a server answers for, and which one a request means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tasks.errors import ConfigError
from tasks.score.member import ScoredMember


class UnknownModel(Exception):
    """A request names no member, or several; the sentence quotes nothing of it."""


@dataclass(frozen=True)
class Served:
    """The members by key, in the order in which they are listed."""

    members: Mapping[str, ScoredMember]

    def __post_init__(self) -> None:
        """Raises ConfigError where there is none."""
        if not self.members:
            raise ConfigError(
                "the store has no trained member that can be served; run a configuration first"
            )

    def find(self, model: str | None, outcomes: Collection[str]) -> ScoredMember:
        """The only member of that name, key or first characters of a key, with these outcomes.

        Raises UnknownModel where none is, or several are.
        """
        named = [member for member in self.members.values() if _is_named(member, model)]
        if not named:
            raise UnknownModel("no such model is served; GET /v1/models lists those that are")
        able = [member for member in named if member.outcomes.keys() >= set(outcomes)]
        if not able:
            raise UnknownModel("no such outcome is predicted; GET /v1/models lists those that are")
        if len(able) > 1:
            keys = ", ".join(member.key for member in able[:4])
            raise UnknownModel(
                f"{len(able)} models are meant ({keys}{', ...' if len(able) > 4 else ''}); name "
                "one by its key in 'model'"
            )
        return able[0]


def _is_named(member: ScoredMember, model: str | None) -> bool:
    return model is None or model == member.name or member.key.startswith(model)
