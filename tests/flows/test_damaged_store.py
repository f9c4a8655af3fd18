"""Damaged weights give no numbers: a later stage finds them damaged and has them made anew."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tasks.runs import load_runs
from tasks.store import Manifest, Store
from tests.flows.conftest import World

pytestmark = pytest.mark.slow


def of_chain(store: Store, kind: str) -> Manifest:
    """The artifact of that kind that the first run came to; other tests' runs have others."""
    [key] = [each.key for each in load_runs(store.root)[0].artifacts if each.kind == kind]
    return next(each for each in store.manifests() if (each.kind, each.key) == (kind, key))


def flip(path: Path, count: int) -> None:
    content = bytearray(path.read_bytes())
    for place in random.Random(0).sample(range(len(content) // 2, len(content)), count):
        content[place] ^= 0xFF
    path.write_bytes(content)


def test_flipped_bytes_of_an_adapter_change_no_number(world: World, copied_store: Store) -> None:
    adapter = of_chain(copied_store, "clinical-adapter")
    weights = copied_store.path(adapter.kind, adapter.key) / "adapter_model.safetensors"
    right, measured = weights.read_bytes(), of_chain(copied_store, "perplexity")
    flip(weights, 400)
    done = world.clinfuse(
        "run", str(world.config), "--stage", "pretrain", "--refresh", "perplexity",
        "--store", str(copied_store.root),
    )  # fmt: skip
    assert "adapter_model.safetensors is not what its manifest says" in done.stdout + done.stderr
    assert weights.read_bytes() == right
    again = of_chain(copied_store, "perplexity")
    assert again.created > measured.created
    assert again.digest == measured.digest
