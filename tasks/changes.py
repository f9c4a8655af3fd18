"""Why a step's artifact is made: what differs from the nearest one of its kind, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.store import Store

SHOWN = 4  # differences; more are counted
_NOTHING = object()


def why_made(store: Store, kind: str, version: int, described: Mapping[str, Any]) -> str:
    """How a new artifact of that kind differs from the most similar one.

    Args:
        described: the step's arguments as `keys.describe` gives them.
    """
    candidates = [
        (list(_differences(manifest.config, described)), manifest)
        for manifest in store.manifests()
        if manifest.kind == kind and _is_comparable(manifest.config, described)
    ]
    if not candidates:
        return "the first of its kind"
    differences, nearest = min(reversed(candidates), key=lambda candidate: len(candidate[0]))
    if nearest.version != version:
        differences.append(f"version {nearest.version}, now {version}")
    if not differences:
        return "the one that was there is gone"
    more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    name = f"{nearest.kind}/{nearest.key}"
    return f"unlike {name} in {'; '.join(differences[:SHOWN])}{more}"


def _is_comparable(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether they are of one step, and name the same outcome, table or split."""

    def words(described: Mapping[str, Any]) -> dict[str, str]:
        return {name: value for name, value in described.items() if isinstance(value, str)}

    return before.keys() == after.keys() and words(before) == words(after)


def _differences(before: Any, after: Any, name: str = "") -> Iterator[str]:
    """One phrase for each value that differs.

    >>> list(_differences({"config": {"epochs": 3, "seed": 1}}, {"config": {"epochs": 4}}))
    ['config.epochs (3, now 4)', 'config.seed (1, now not given)']
    """
    if before == after:
        return
    if _is_reference(before) or _is_reference(after):
        yield f"{name} (another {'artifact' if _kind(after) or _kind(before) else 'content'})"
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            inside = f"{name}.{key}" if name else str(key)
            yield from _differences(before.get(key, _NOTHING), after.get(key, _NOTHING), inside)
    else:
        yield f"{name} ({_shown(before)}, now {_shown(after)})"


def _is_reference(value: Any) -> bool:
    """Whether it refers to an artifact, or to a file's content."""
    return isinstance(value, Mapping) and bool({"digest", "sha256"} & value.keys())


def _kind(value: Any) -> str | None:
    return value.get("artifact") if isinstance(value, Mapping) else None


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "not given"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:39]}\u2026"
