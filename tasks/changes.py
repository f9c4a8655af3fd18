"""Why a step's artifact is made: what differs from the nearest one of its kind, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.store import Manifest, Store

SHOWN = 4  # differences; more are counted
_NOTHING = object()


def why_made(store: Store, kind: str, version: int, described: Mapping[str, Any]) -> str:
    """What a new artifact of that kind differs in from the one that is most like it.

    Args:
        described: the step's arguments as `keys.describe` gives them.
    """
    words = _words(described)  # which outcome, which table, which split it is
    manifests = [
        each for each in store.manifests() if each.kind == kind and _words(each.config) == words
    ]
    if not manifests:
        return "the first of its kind"
    differences = [(list(_differences(each.config, described)), each) for each in manifests]
    nearest, manifest = min(reversed(differences), key=lambda pair: len(pair[0]))
    if manifest.version != version:
        nearest.append(f"version {manifest.version}, now {version}")
    if not nearest:
        return "the one that was there is gone"
    more = f" and {len(nearest) - SHOWN} more" if len(nearest) > SHOWN else ""
    return f"unlike {_name(manifest)} in {'; '.join(nearest[:SHOWN])}{more}"


def _words(described: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in described.items() if isinstance(value, str)}


def _name(manifest: Manifest) -> str:
    return f"{manifest.kind}/{manifest.key}"


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
    """Whether it stands for an artifact, or for a file's content."""
    return isinstance(value, Mapping) and bool({"digest", "sha256"} & value.keys())


def _kind(value: Any) -> str | None:
    return value.get("artifact") if isinstance(value, Mapping) else None


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "not given"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:39]}\u2026"
