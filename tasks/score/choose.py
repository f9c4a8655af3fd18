"""Which trained members a scoring names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.errors import ConfigError, StoreError
from tasks.inspection import resolve
from tasks.store import Manifest, Store

METRICS, PREDICTIONS = "metrics", "predictions"


def chosen(store: Store, run: str | None, members: Sequence[str]) -> tuple[str, ...]:
    """The keys of the members, in the order of the run, or as they are named.

    Args:
        run: the name of an evaluated run, of whose members these are names; empty: all of them.
            None: they are keys, or their first characters.

    Raises ConfigError or StoreError where there is no such run or member.
    """
    if run is None:
        return tuple(dict.fromkeys(resolve(store, name).key for name in members))
    runs = [
        manifest
        for manifest in store.manifests()
        if manifest.kind == METRICS and manifest.config.get("run") == run
    ]
    if not runs:
        raise ConfigError(
            f"the store has no evaluated run '{run}'; correct 'run', or run its configuration first"
        )
    of_run = dict(_members_of(store, runs[-1]))
    if not of_run:
        raise StoreError(f"the members of the run '{run}' are gone; run it again")
    if unknown := [name for name in members if name not in of_run.values()]:
        known = ", ".join(dict.fromkeys(of_run.values()))
        raise ConfigError(f"the run '{run}' has no member '{unknown[0]}'; 'members' takes {known}")
    return tuple(key for key, name in of_run.items() if not members or name in members)


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
