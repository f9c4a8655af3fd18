"""Which trained members a scoring names."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.errors import ConfigError, StoreError
from tasks.inspection import resolve
from tasks.score.config import ScoreConfig
from tasks.store import Manifest, Store

METRICS, PREDICTIONS = "metrics", "predictions"


def chosen(store: Store, config: ScoreConfig) -> tuple[str, ...]:
    """The keys of the members, in the order of the run, or as they are named.

    Raises ConfigError or StoreError where there is no such run or member.
    """
    if config.run is None:
        return tuple(dict.fromkeys(resolve(store, name).key for name in config.members))
    runs = [
        manifest
        for manifest in store.manifests()
        if manifest.kind == METRICS and manifest.config.get("run") == config.run
    ]
    if not runs:
        raise ConfigError(
            f"the store has no evaluated run '{config.run}'; correct 'run', or run its "
            "configuration first"
        )
    members = dict(_members_of(store, runs[-1]))
    if not members:
        raise StoreError(f"the members of the run '{config.run}' are gone; run it again")
    if unknown := [name for name in config.members if name not in members.values()]:
        known = ", ".join(dict.fromkeys(members.values()))
        raise ConfigError(
            f"the run '{config.run}' has no member '{unknown[0]}'; 'members' takes {known}"
        )
    return tuple(
        key for key, name in members.items() if not config.members or name in config.members
    )


def _members_of(store: Store, metrics: Manifest) -> Iterator[tuple[str, str]]:
    """The key and the name of each member that was measured; no baseline, no stack."""
    for measured in metrics.inputs:
        predictions = store.manifest(measured.kind, measured.key)
        if measured.kind != PREDICTIONS or predictions is None:
            continue
        job = predictions.config.get("job", {})
        for made_from in predictions.inputs:
            described = {"artifact": made_from.kind, "digest": made_from.digest}
            if described == job.get("adapter"):
                yield made_from.key, job["member"]["member"]
