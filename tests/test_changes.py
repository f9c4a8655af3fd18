"""A step that makes an artifact anew says what differs from the one most like it."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.changes import why_made
from tasks.store import Store
from tests.test_store import FACTS

CONFIG = {"epochs": 3, "head": {"kind": "linear", "pool": "last"}}
BASE = {"config": CONFIG, "cohort": {"artifact": "cohort", "digest": "a"}, "outcome": "mortality"}


def described(**changed: Any) -> dict[str, Any]:
    return {**BASE, **changed}


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with two artifacts of a kind, the second with other epochs."""
    for key, epochs in (("k1", 3), ("k2", 5)):
        out = store.fresh("metrics", key)
        (out / "a").write_text(key)
        config = described(config={**CONFIG, "epochs": epochs})
        store.commit(out, {**FACTS, "kind": "metrics", "key": key, "config": config})
    return store


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"config": {**CONFIG, "epochs": 4}}, "unlike metrics/k2 in config.epochs (5, now 4)"),
        (
            {"config": {**CONFIG, "head": {"kind": "linear", "pool": "mean"}}},
            "unlike metrics/k1 in config.head.pool (last, now mean)",
        ),
        (
            {"cohort": {"artifact": "cohort", "digest": "b"}},
            "unlike metrics/k1 in cohort (another artifact)",
        ),
        ({}, "the one that was there is gone"),
        (
            {"outcome": "readmission"},
            "the first of its kind",
        ),  # of another outcome, none is like it
        ({"more": 1}, "the first of its kind"),
    ],
)
def test_what_differs_is_named(filled: Store, changed: dict[str, Any], reason: str) -> None:
    assert why_made(filled, "metrics", 1, described(**changed)) == reason


def test_a_new_version_is_named(filled: Store) -> None:
    assert why_made(filled, "metrics", 2, described()).endswith("in version 1, now 2")


def test_many_differences_are_counted(filled: Store) -> None:
    many = described(config={f"key{number}": number for number in range(9)})
    reason = why_made(filled, "metrics", 1, many)
    assert reason.count(";") == 3
    assert reason.endswith("and 7 more")


def test_a_file_that_changed_is_told_without_its_hash(store: Store) -> None:
    out = store.fresh("notes", "k")
    (out / "a").write_text("a")
    config = {"file": {"sha256": "1"}}
    store.commit(out, {**FACTS, "kind": "notes", "key": "k", "config": config})
    reason = why_made(store, "notes", 1, {"file": {"sha256": "2"}})
    assert reason == "unlike notes/k in file (another content)"
