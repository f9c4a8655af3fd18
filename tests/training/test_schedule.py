"""The learning rate: rises, falls, never zero, and is resumed by its step alone."""

from __future__ import annotations

import doctest
from itertools import pairwise
from typing import Literal

import pytest

from tasks.training import schedule as module
from tasks.training.config import TrainingConfig
from tasks.training.schedule import share_of_peak


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_it_rises_to_the_peak_and_never_stands_still(
    schedule: Literal["linear", "cosine", "constant"],
) -> None:
    config = TrainingConfig(schedule=schedule, warmup_share=0.1)
    shares = [share_of_peak(step, 100, config) for step in range(100)]
    assert shares[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert max(shares) == shares[10] == 1.0
    assert min(shares) > 0
    assert all(later <= earlier for earlier, later in pairwise(shares[10:]))


def test_half_way_down() -> None:
    half = {
        schedule: share_of_peak(50, 100, TrainingConfig(schedule=schedule, warmup_share=0.0))
        for schedule in ("linear", "cosine", "constant")
    }
    assert half == pytest.approx({"linear": 0.5, "cosine": 0.5, "constant": 1.0})


def test_one_step_is_taken_at_the_peak() -> None:
    assert share_of_peak(0, 1, TrainingConfig(warmup_share=0.5)) == 1.0


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(module) == (0, 2)
