"""What trainings import is imported beside ingest, in a store where nothing was trained yet."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from flows import chain
from flows.chain import Chain
from flows.loading import load_config
from tests.flows.conftest import ROOT


class Ingested(Exception):
    """Ingest began."""


@pytest.mark.parametrize("trained", [False, True])
def test_the_imports_of_a_first_training_begin_before_ingest(
    trained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ingest(*_: object, **__: object) -> NoReturn:
        raise Ingested

    begun: list[str] = []
    monkeypatch.setattr(chain, "ingest", ingest)
    monkeypatch.setattr(chain, "prepare", lambda _, module: begun.append(module))
    monkeypatch.setattr(chain, "current_store", lambda: SimpleNamespace(root=tmp_path))
    if trained:
        (tmp_path / "corpus").mkdir()
    config = load_config(ROOT / "configs" / "demo.yaml", [])
    with pytest.raises(Ingested):
        Chain(config).pretraining(["clinical"])
    assert begun == ([] if trained else ["tasks.pretrain.base"])
