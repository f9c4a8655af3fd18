"""The examples in the docstrings of the ingest stage."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["blocks", "cohort", "sections", "titles"])
def test_the_examples_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"tasks.ingest.{name}"))
    assert result.attempted
    assert not result.failed
