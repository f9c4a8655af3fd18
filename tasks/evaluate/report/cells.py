"""Counts that may be printed together: none below the smallest cell, none that gives one away.

A count under the smallest cell is not printed. Where it would follow from a printed total and its
other parts, or from two printed counts of nearly the same patients, another of them is withheld
too (complementary suppression: Cox, J. Am. Statist. Assoc. 75:377-385, 1980). What a reader can
work out is worked out here as well, as ranges: of each small count at least `smallest - 1` values
stay possible, as many as "fewer than `smallest`" leaves.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

Cell = Hashable
WITHHELD = "withheld"
_PASSES = 50  # over all sums; ranges settle after about as many as totals stand above each other
_Range = tuple[float, float]


@dataclass(frozen=True)
class Printed:
    """What stands on a page for each count."""

    counts: Mapping[Cell, int]
    small: frozenset[Cell]  # printed as "<10"
    withheld: frozenset[Cell]  # printed without any number
    smallest: int

    def exact(self, cell: Cell) -> bool:
        return cell not in self.small and cell not in self.withheld

    def text(self, cell: Cell) -> str:
        if cell in self.withheld:
            return WITHHELD
        return f"<{self.smallest}" if cell in self.small else f"{self.counts[cell]:,}"


@dataclass
class Cells:
    """Counts and the sums that tie them; those worth most to a reader are added first."""

    counts: dict[Cell, int] = field(default_factory=dict)
    sums: list[tuple[Cell, ...]] = field(default_factory=list)  # a total, then its parts
    unprinted: set[Cell] = field(default_factory=set)

    def add(self, cell: Cell, count: int) -> None:
        self.counts[cell] = count

    def sum(self, total: Cell, parts: Iterable[Cell]) -> None:
        """The total is the sum of the parts and of a rest that stands nowhere, if there is one."""
        parts = list(parts)
        rest = self.counts[total] - sum(self.counts[part] for part in parts)
        if rest < 0 or not parts:  # they are of other things
            return
        if rest:
            parts.append(missing := ("rest", len(self.sums)))
            self.counts[missing] = rest
            self.unprinted.add(missing)
        self.sums.append((total, *parts))

    def nested(self, cells: Iterable[Cell]) -> None:
        """Counts of nearly the same patients: what lies between two follows by subtraction."""
        for larger, smaller in pairwise(sorted(cells, key=lambda cell: -self.counts[cell])):
            self.sum(larger, [smaller])

    def printed(self, smallest: int) -> Printed:
        """Choose what is printed, what as "fewer than `smallest`", and what not at all."""
        found = _Hiding(self, smallest)
        small = found.small & found.hidden
        told = {cell: (smallest, math.inf) for cell in found.hidden} | {
            cell: (1, smallest - 1) for cell in small
        }
        # where this is too much to tell, all that is tied together is withheld alike
        small -= found.tied_to(found.exposed(told))
        withheld = frozenset(found.hidden - small)
        return Printed(self.counts, frozenset(small), withheld, smallest)


class _Hiding:
    """The printed cells to hide: the small ones, and of those tied to them what gives them away."""

    def __init__(self, cells: Cells, smallest: int) -> None:
        self.cells = cells
        self.smallest = smallest
        # a sum with a rest as large as this is an inequality that leaves room enough
        roomy = {cell for cell in cells.unprinted if cells.counts[cell] >= smallest}
        self.sums = [one for one in cells.sums if roomy.isdisjoint(one)]
        self.sums_of: dict[Cell, list[tuple[Cell, ...]]] = {}
        for one in self.sums:
            for cell in one:
                self.sums_of.setdefault(cell, []).append(one)
        # not only the printed ones: what is left between two counts may be one patient
        self.small = {cell for cell, count in cells.counts.items() if 0 < count < smallest}
        self.hidden = self.small - cells.unprinted
        # of a hidden cell a reader knows that it is not 0, no more
        while more := self._beside(self.exposed(dict.fromkeys(self.hidden, (1, math.inf)))):
            self.hidden |= more

    def exposed(self, told: Mapping[Cell, _Range]) -> list[Cell]:
        """The small cells that a reader would know too well, given what is told of hidden ones."""
        ranges = self._worked_out(told)
        wide_enough = self.smallest - 2
        return [cell for cell in self.small if ranges[cell][1] - ranges[cell][0] < wide_enough]

    def tied_to(self, cells: Iterable[Cell]) -> set[Cell]:
        """The cells that are not printed and bound to these by sums, whatever else is printed."""
        found, waiting = set(), list(cells)
        while waiting:
            cell = waiting.pop()
            if cell in found or not (cell in self.hidden or cell in self.cells.unprinted):
                continue
            found.add(cell)
            waiting += [other for one in self.sums_of.get(cell, ()) for other in one]
        return found

    def _beside(self, exposed: Iterable[Cell]) -> set[Cell]:
        """For each exposed cell the one to hide next: the least worth of those tied to it."""
        worth = {cell: place for place, cell in enumerate(self.cells.counts)}
        more = set()
        for cell in exposed:
            tied = self.tied_to([cell])
            near = {other for each in tied for one in self.sums_of.get(each, ()) for other in one}
            printed = [other for other in near - tied if self.cells.counts[other] > 0]
            more |= {max(printed, key=worth.__getitem__)} if printed else set()
        return more

    def _worked_out(self, told: Mapping[Cell, _Range]) -> dict[Cell, _Range]:
        """What follows for every cell from the sums, as a range."""
        ranges: dict[Cell, _Range] = {cell: (n, n) for cell, n in self.cells.counts.items()}
        ranges |= dict.fromkeys(self.cells.unprinted, (0, math.inf))
        ranges |= told
        for _ in range(_PASSES):
            before = dict(ranges)
            for total, *parts in self.sums:
                lows, highs = zip(*(ranges[part] for part in parts), strict=True)
                least, most = sum(lows), sum(high for high in highs if high < math.inf)
                open_ended = sum(high == math.inf for high in highs)
                ranges[total] = _both(ranges[total], (least, math.inf if open_ended else most))
                low, high = ranges[total]
                for part, own_low, own_high in zip(parts, lows, highs, strict=True):
                    unbounded = open_ended - (own_high == math.inf) > 0
                    others = most - (own_high if own_high < math.inf else 0)
                    within = (-math.inf if unbounded else low - others, high - (least - own_low))
                    ranges[part] = _both(ranges[part], within)
            if ranges == before:
                break
        return ranges


def _both(one: _Range, other: _Range) -> _Range:
    return max(one[0], other[0]), min(one[1], other[1])


def side_by_side(
    partitions: Mapping[str, Mapping[str, int]], smallest: int, rest: str = "other"
) -> list[str]:
    """Which partitions of nearly the same patients may be printed: the first, and others with it.

    Two that differ in a group by fewer than `smallest` would give away by subtraction who is in
    one only. Groups that one of the two joins under `rest` are compared joined.
    """
    kept: list[str] = []
    for name, groups in partitions.items():
        small = any(0 < count < smallest for count in groups.values())
        if not small and all(_apart(groups, partitions[other], smallest, rest) for other in kept):
            kept.append(name)
    return kept


def _apart(one: Mapping[str, int], other: Mapping[str, int], smallest: int, rest: str) -> bool:
    shared = (one.keys() & other.keys()) - {rest}
    gaps = [one[name] - other[name] for name in shared]
    left = [sum(n for name, n in each.items() if name not in shared) for each in (one, other)]
    return all(gap == 0 or abs(gap) >= smallest for gap in (*gaps, left[0] - left[1]))
