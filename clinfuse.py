"""What `import clinfuse` gives: trained members, from Python.

    scorer = clinfuse.Scorer("STORE")
    scores = scorer.score(["CHIEF COMPLAINT: chest pain"], ["KEY"])["KEY"]["mortality"]
    scores.labels.titles, scores.probabilities  # of each label; [texts, labels]

torch is imported when a name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.score.scorer import Scorer as Scorer
    from tasks.score.scorer import Scores as Scores

__all__ = ["Scorer", "Scores"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tasks.score import scorer

    return getattr(scorer, name)


def __dir__() -> list[str]:
    return __all__
