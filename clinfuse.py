"""What `import clinfuse` gives: trained members, from Python.

    scorer = clinfuse.Scorer("STORE")
    scores = scorer.score(["CHIEF COMPLAINT: chest pain"], ["KEY"])["KEY"]["mortality"]
    scores.labels.titles, scores.probabilities  # of each label; [texts, labels]
    clinfuse.occlude(scorer, "CHIEF COMPLAINT: chest pain", "KEY", "mortality").words(label=0)

torch is imported when a name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.score.occlusion import Occlusion as Occlusion
    from tasks.score.occlusion import occlude as occlude
    from tasks.score.scorer import Scorer as Scorer
    from tasks.score.scorer import Scores as Scores

_MODULES = {
    "Occlusion": "tasks.score.occlusion",
    "occlude": "tasks.score.occlusion",
    "Scorer": "tasks.score.scorer",
    "Scores": "tasks.score.scorer",
}
__all__ = ["Occlusion", "Scorer", "Scores", "occlude"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
