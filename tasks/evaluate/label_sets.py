"""The sets of labels that means are over, and what a metric row says of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.inputs import Known, bands_of
from tasks.measures.small_samples import TOO_FEW
from tasks.metrics_table import BANDS, WITHHELD


@dataclass(frozen=True)
class LabelSets:
    """Each code system and all of them, each whole and by band of training cases."""

    known: Known

    @cached_property
    def spaces(self) -> list[NDArray[np.bool_]]:
        """The labels of each code system, and all of them last; [labels] each."""
        systems = range(len(self.known.code_systems))
        every = np.ones(self.known.labels, bool)
        return [*(self.known.group == system for system in systems), every]

    @cached_property
    def names(self) -> list[str | None]:
        """What each of `spaces` is called in a row; None is pooled."""
        return [*self.known.code_systems, None]

    @cached_property
    def by_band(self) -> list[tuple[dict[str, Any], NDArray[np.bool_]]]:
        """Every set with a label: what a row says of it, and its labels, [labels] bool."""
        bands = bands_of(self.known.train)
        found = []
        for name, space in zip(self.names, self.spaces, strict=True):
            found.append((self.described(space, name), space))
            for band in np.unique(bands[space]):
                labels = space & (bands == band)
                found.append((self.described(labels, name) | {"group": BANDS[band][1]}, labels))
        return found

    def described(self, labels: NDArray[np.bool_], name: str | None) -> dict[str, Any]:
        """The code system and the counts of a row over these labels."""
        return {"code_system": name, **self.known.described(labels)}

    def of_labels(
        self, metrics: Mapping[str, tuple[NDArray[np.float64], ...]], method: str
    ) -> Iterator[dict[str, Any]]:
        """A row a label and metric, where there is a value.

        Args:
            metrics: name -> value, and where there are intervals low and high, NaN of too few
                patients; [labels] each.
        """
        systems = [
            self.described(space, name)
            for space, name in zip(self.spaces[:-1], self.names[:-1], strict=True)
        ]
        for name, columns in metrics.items():
            for label in np.flatnonzero(~np.isnan(columns[0])):
                numbers = (float(each[label]) for each in columns)
                found = dict(zip(("value", "low", "high"), numbers, strict=False))
                own = {
                    "code": self.known.codes[label],
                    "positives": int(self.known.positives[label]),
                }
                few = np.isnan(found.get("low", 0.0))
                how = f"{WITHHELD}: {TOO_FEW}" if few else method
                what = {"metric": name, "method": how}
                yield systems[self.known.group[label]] | own | what | found
