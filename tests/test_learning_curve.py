"""The curve of a training on Prefect's page of its run."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from prefect import flow

from tasks import progress
from tasks.learning_curve import POINTS, LearningCurve
from tasks.reporting import report
from tasks.step import step
from tasks.store import Store
from tasks.training_progress import Progress

SVG = "{http://www.w3.org/2000/svg}"


def pictures(markdown: str) -> list[ElementTree.Element]:
    found = re.findall(r"!\[[^]]*\]\(data:image/svg\+xml;base64,([^)]*)\)", markdown)
    return [ElementTree.fromstring(base64.b64decode(one)) for one in found]


def corners(drawing: ElementTree.Element, style: str) -> int:
    """How many points the lines of a stroke width have."""
    paths = [path.get("d", "") for path in drawing.iter(f"{SVG}path")]
    widths = [path.get("stroke-width") for path in drawing.iter(f"{SVG}path")]
    return sum(d.count("L") + 1 for d, width in zip(paths, widths, strict=True) if width == style)


def test_a_curve_of_any_length_is_small_and_ends_at_the_last_step() -> None:
    curve, ends = LearningCurve(), []
    for number in range(10_000):
        loss = 3 - number / 5000
        curve.add(Progress("fused", number, 10_000, loss=loss).reading)
        if number % 1000 == 999:
            curve.add(Progress("fused", number, 10_000, validation=0.7).reading)
            ends.append(curve.charts["training loss"]["fused"].points[-1])
            lengths = [len(line.points) for line in curve.charts["training loss"].values()]
            assert POINTS // 2 < lengths[0] <= POINTS
    assert ends == [(number, 3 - number / 5000) for number in range(999, 10_000, 1000)]
    loss, auroc = pictures(curve.markdown())
    assert len(curve.markdown()) < 10_000
    assert "training loss" in "".join(loss.itertext())
    assert "fused" in "".join(loss.itertext())
    assert "validation AUROC" in "".join(auroc.itertext())


def test_only_the_last_of_many_trainings_are_drawn() -> None:
    curve = LearningCurve()
    for arm in range(40):
        for number in range(200):
            curve.add(Progress(f"<arm {arm}>", number, 200, loss=1.0).reading)
    assert len(curve.markdown()) < 20_000
    (drawing,) = pictures(curve.markdown())
    assert "<arm 39>" in "".join(drawing.itertext())
    assert "<arm 0>" not in "".join(drawing.itertext())


def test_a_loss_that_is_no_number_is_not_drawn() -> None:
    curve = LearningCurve()
    curve.add(Progress("fused", 1, 2, loss=float("nan")).reading)
    assert curve.markdown() == ""


def test_the_picture_grows_in_place_while_the_step_runs(
    prefect_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client

    seen: list[list[Any]] = []

    def look() -> None:
        with get_client(sync_client=True) as client:
            found = client.read_artifacts()
        seen.append([one for one in found if (one.key or "").startswith("grown-")])

    @step("grown", version=1)
    def grow(out: Path) -> dict[str, int]:
        for number in range(1, 31):
            report(Progress("fused", number, 30, loss=1 / number).reading)
            if number in (10, 20):
                look()
        time.sleep(0.01)
        return {}

    @flow(persist_result=False)
    def growing() -> None:
        grow()

    monkeypatch.setattr(progress, "TABLE_SECONDS", 0.0)
    growing()
    look()
    drawn = [[one for one in found if one.key.endswith("-curve")] for found in seen]
    assert [len(found) for found in drawn] == [1, 1, 1], "one artifact, changed in place"
    assert len({found[0].id for found in drawn}) == 1
    lengths = [corners(pictures(found[0].description)[0], "1.2") for found in drawn[:1]]
    lengths += [corners(pictures(found[0].description)[0], "2") for found in drawn[1:]]
    assert lengths == [10, 20, 30]
