"""Intervals of labels alone: how often they hold the truth, and how long they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from tests.bench._coverage_rows import REPLICATES, coverage_row, percent, print_table, table_of
from tests.bench._score_shapes import SHAPES, Labels, Shape

# patients, AUROC, and whether they are those without the label
ALONE = (
    *((patients, auroc, False) for auroc in (0.75, 0.9, 0.95) for patients in (10, 20, 50)),
    *((10, auroc, True) for auroc in (0.75, 0.9)),
)
SIZES, AUROCS = (10, 12, 15, 26, 50), (0.75, 0.9)  # of labels with scores of other shapes
BATCH = 100  # labels that are drawn together, with the same numbers of admissions
DRAWS = 1_000


@dataclass
class Tally:
    """What the intervals of some labels are."""

    held: list[bool] = field(default_factory=list)  # whether each that is given holds the truth
    plain: list[bool] = field(default_factory=list)  # whether the normal, linear ones do
    widths: list[float] = field(default_factory=list)

    def add(self, labels: Labels, auroc: float) -> None:
        """Count labels of this AUROC."""
        given = [one for one in labels.intervals() if not one.reason]
        self.held += [one.low <= auroc <= one.high for one in given]
        self.widths += [one.high - one.low for one in given]
        self.plain += [low <= auroc <= high for low, high in labels.plain_intervals()]

    def row(self, what: str) -> dict[str, Any]:
        """The row of the bench."""
        return coverage_row(
            f"coverage of {what}", float(np.mean(self.held)), float(np.mean(self.plain)), "plain"
        )


def alone_rows() -> list[dict[str, Any]]:
    """Coverage where scores are normal, of labels that few patients have, or that few lack."""
    table = table_of("Labels alone", ("patients", "AUROC", "holds", "plain", "mean width"))
    listed = []
    for patients, auroc, lacking in ALONE:
        random = np.random.default_rng([patients, round(100 * auroc), lacking])
        tally = Tally()
        for _ in range(max(1, REPLICATES // BATCH)):
            labels = Labels.draw(SHAPES[0], auroc, patients, BATCH, random)
            tally.add(labels.mirrored if lacking else labels, auroc)
        side = f"{patients} {'without' if lacking else 'with'} it"
        row = tally.row(f"a label's AUROC of {auroc}, {side}") | {"width": np.mean(tally.widths)}
        shares = (percent(share / 100) for share in (row["ours"], row["peer"]))
        table.add_row(side, f"{auroc}", *shares, f"{row['width']:.3f}")
        listed.append(row)
    print_table(table)
    return listed


def shape_rows() -> list[dict[str, Any]]:
    """Coverage and width where scores have other shapes, as drawn and with one case below all."""
    table = table_of(
        f"Labels of {SIZES[0]} to {SIZES[-1]} patients; widths over the cluster bootstrap's",
        ("scores", "holds", "plain", "median", "largest", "+ outlier", "largest"),
    )
    listed, ratios = [], []
    for number, shape in enumerate(SHAPES):
        random = np.random.default_rng([11, number])
        tally, own, outlier = _of_shape(shape, random)
        row = tally.row(f"labels alone, scores {shape.name}") | {"goal": None}
        shares = (percent(share / 100) for share in (row["ours"], row["peer"]))
        sizes = (np.median(own), max(own), np.median(outlier), max(outlier))
        table.add_row(shape.name, *shares, *(f"{size:.2f}" for size in sizes))
        listed.append(row)
        ratios += own + outlier
    print_table(table)
    what = f"width over the bootstrap's, {len(ratios):,} labels of {len(SHAPES)} shapes of scores"
    peer = {"unit": "x", "peer": 1.0, "peer_name": f"cluster bootstrap, {DRAWS:,} draws"}
    return [
        *listed,
        {"what": f"median {what}", "ours": float(np.median(ratios)), "goal": 1.25} | peer,
        {"what": f"largest {what}", "ours": max(ratios), "goal": 2.0} | peer,
    ]


def _of_shape(shape: Shape, random: np.random.Generator) -> tuple[Tally, list[float], list[float]]:
    """How often its labels' intervals hold the truth; their widths over the bootstrap's."""
    tally = Tally()
    own: list[float] = []
    outlier: list[float] = []
    for patients, auroc in product(SIZES, AUROCS):
        for _ in range(max(1, REPLICATES // (10 * BATCH))):
            tally.add(Labels.draw(shape, auroc, patients, BATCH, random), auroc)
        labels = Labels.draw(shape, auroc, patients, max(5, REPLICATES // 100), random)
        own += labels.widths_over_bootstrap(DRAWS, random)
        outlier += labels.with_an_outlier.widths_over_bootstrap(DRAWS, random)
    return tally, own, outlier
