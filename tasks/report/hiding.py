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
        unseen: Collection[Cell],
    ) -> None:
        """
        Args:
            sums: a total, then its parts.
            unseen: the cells that no page prints.
        """
        self.smallest, self.counts, self.sums, self.unseen = smallest, counts, sums, unseen
        self.sums_of: dict[Cell, list[int]] = {}
        for index, terms in enumerate(sums):
            for cell in terms:
                self.sums_of.setdefault(cell, []).append(index)
        # not only the printed ones: what is left between two counts may be one patient
        self.small = [cell for cell, count in counts.items() if 0 < count < smallest]
        self.hidden = set(self.small).difference(unseen)
        reader = Reader(counts, sums)
        while more := self._beside(self._exposed(reader, dict.fromkeys(self.hidden, _SOME))):
            self.hidden |= more

    def printed_as_small(self) -> set[Cell]:
        """The hidden cells of which a page may tell that they are small."""
        small = self.hidden.intersection(self.small)
        told = dict.fromkeys(self.hidden, (self.smallest, math.inf))
        told |= dict.fromkeys(small, (1, self.smallest - 1))
        reader = Reader(self.counts, self.sums)
        # where this is too much to tell, all that is tied together is withheld alike
        alike = set[Cell]()
        while more := self._tied_to(self._exposed(reader, told)) & self.hidden - alike:
            alike |= more
            told |= dict.fromkeys(more, _SOME)
        return small - alike

    def _exposed(self, reader: Reader, told: Mapping[Cell, Range]) -> list[Cell]:
        """Small cells that a reader would know too well, by what is printed for hidden ones."""
        told = dict.fromkeys(self.unseen, (0, math.inf)) | told
        return reader.knows(told, self.small, width=self.smallest - 2)

    def _tied_to(self, cells: Iterable[Cell]) -> set[Cell]:
        """The cells that are not printed and bound to these by sums, whatever else is printed."""
        tied, waiting, followed = set[Cell](), list(cells), set[int]()
        while waiting:
            cell = waiting.pop()
            if cell in tied or not (cell in self.hidden or cell in self.unseen):
                continue
            tied.add(cell)
            for index in self.sums_of.get(cell, ()):
                if index not in followed:
                    followed.add(index)
                    waiting += self.sums[index]
        return tied

    def _beside(self, exposed: Iterable[Cell]) -> set[Cell]:
        """Of all that are tied to an exposed cell the one to hide next: that of the least worth."""
        worth = {cell: index for index, cell in enumerate(self.counts)}
        more, left = set[Cell](), set(exposed)
        while left:
            tied = self._tied_to([left.pop()])
            left -= tied
            sums = {index for cell in tied for index in self.sums_of.get(cell, ())}
            near = {cell for index in sums for cell in self.sums[index]}
            printed = [cell for cell in near - tied if self.counts[cell] > 0]
            more |= {max(printed, key=worth.__getitem__)} if printed else set()
        return more
