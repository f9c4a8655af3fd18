"""Which counts a page withholds, so that no reader can work out a small one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from tasks.report.reader import Cell, Range, Reader

_SOME: Range = (1, math.inf)  # of a withheld count a reader knows that it is not 0, no more


class Hiding:
    """The printed cells to hide: the small ones, and of those tied to them what gives them away."""

    def __init__(
        self,
        smallest: int,
        counts: Mapping[Cell, int],
        sums: Sequence[tuple[Cell, ...]],
        roomy: Sequence[tuple[Cell, ...]],
        unseen: Collection[Cell],
    ) -> None:
        """
        Args:
            sums: a total, then its parts.
            roomy: those that tell nothing but together with others.
            unseen: the cells that no page prints.
        """
        self.smallest, self.counts, self.sums, self.roomy = smallest, counts, sums, roomy
        self.unseen = unseen
        # what gives a count away is looked for among the telling sums first
        self.ties = (_Ties(sums), _Ties([*sums, *roomy]))
        # not only the printed ones: what is left between two counts may be one patient
        self.small = [cell for cell, count in counts.items() if 0 < count < smallest]
        self.hidden = set(self.small).difference(unseen)
        reader = Reader(counts, sums, roomy)
        while more := self._beside(self._exposed(reader, dict.fromkeys(self.hidden, _SOME))):
            self.hidden |= more

    def printed_as_small(self) -> set[Cell]:
        """The hidden cells of which a page may tell that they are small."""
        small = self.hidden.intersection(self.small)
        told: dict[Cell, Range] = dict.fromkeys(self.hidden, (self.smallest, math.inf))
        told |= dict.fromkeys(small, (1, self.smallest - 1))
        reader = Reader(self.counts, self.sums, self.roomy)
        # where this is too much to tell, all that is tied together is withheld alike
        alike = set[Cell]()
        while more := self._alike(self._exposed(reader, told), alike):
            alike |= more
            told |= dict.fromkeys(more, _SOME)
        return small - alike

    def _exposed(self, reader: Reader, told: Mapping[Cell, Range]) -> list[Cell]:
        """Small cells that a reader would know too well, by what is printed for hidden ones."""
        ranges: dict[Cell, Range] = {**dict.fromkeys(self.unseen, (0, math.inf)), **told}
        return reader.knows(ranges, self.small, width=self.smallest - 2)

    def _beside(self, exposed: Iterable[Cell]) -> set[Cell]:
        """Of all that are tied to an exposed cell the one to hide next: that of the least worth."""
        worth = {cell: index for index, cell in enumerate(self.counts)}
        unprinted = self.hidden.union(self.unseen)
        more, settled = set[Cell](), set[Cell]()
        for start in exposed:
            for ties in self.ties if start not in settled else ():
                near = ties.near([start], unprinted)
                printed = [cell for cell in near - unprinted if self.counts[cell] > 0]
                if printed:
                    more.add(max(printed, key=worth.__getitem__))
                    settled |= near
                    break
        return more

    def _alike(self, exposed: Collection[Cell], alike: set[Cell]) -> set[Cell]:
        """The hidden cells tied to exposed ones that are not yet withheld alike."""
        unprinted = self.hidden.union(self.unseen)
        tied = (ties.near(exposed, unprinted) & self.hidden - alike for ties in self.ties)
        return next(filter(None, tied), set())


class _Ties:
    """Which cells sums bind to each other."""

    def __init__(self, sums: Sequence[tuple[Cell, ...]]) -> None:
        self.sums = sums
        self.sums_of: dict[Cell, list[int]] = {}
        for index, terms in enumerate(sums):
            for cell in terms:
                self.sums_of.setdefault(cell, []).append(index)

    def near(self, cells: Iterable[Cell], unprinted: Collection[Cell]) -> set[Cell]:
        """These, all that sums bind to them by way of cells that are not printed, and the next."""
        near, followed = set(cells), set[int]()
        waiting = list(near)
        while waiting:
            for index in self.sums_of.get(waiting.pop(), ()):
                if index not in followed:
                    followed.add(index)
                    more = set(self.sums[index]) - near
                    near |= more
                    waiting += more.intersection(unprinted)
        return near
