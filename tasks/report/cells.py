"""Counts that may be printed together: none below the smallest cell, none that gives one away.

A count under the smallest cell is not printed. Where it would follow from a printed total and its
other parts, or from two printed counts of nearly the same patients, another of them is withheld
too (complementary suppression: Cox, J. Am. Statist. Assoc. 75:377-385, 1980). What a reader can
work out is worked out here as well, as ranges: of each small count at least `smallest - 1` values
stay possible, as many as "fewer than `smallest`" leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tasks.report.hiding import Hiding
from tasks.report.reader import Cell

WITHHELD = "withheld"


@dataclass(frozen=True)
class Printed:
    """What stands on a page for each count."""

    counts: Mapping[Cell, int]
    small: frozenset[Cell]  # printed as "<10"
    withheld: frozenset[Cell]  # printed without any number
    smallest: int
    same: Mapping[Cell, Cell]  # another name of a count -> its name here

    def exact(self, cell: Cell) -> bool:
        return self.at_least(cell) == self.counts[self.same.get(cell, cell)]

    def at_least(self, cell: Cell) -> int | None:
        """The count, or `smallest` where it is below that; None where it is withheld."""
        cell = self.same.get(cell, cell)
        if cell in self.withheld:
            return None
        return self.smallest if cell in self.small else self.counts[cell]

    def text(self, cell: Cell) -> str:
        known = self.at_least(cell)
        if known is None:
            return WITHHELD
        return f"{known:,}" if self.exact(cell) else f"<{self.smallest}"

    def phrase(self, cell: Cell, units: str) -> str:
        """The count with its unit: "1,007 admissions", "a withheld number of patients"."""
        text = self.text(cell)
        if text == WITHHELD:
            return f"a withheld number of {units}"
        return f"{text} {units.removesuffix('s') if text == '1' else units}"


@dataclass
class Cells:
    """Counts and the sums that tie them; those worth most to a reader are added first."""

    smallest: int
    counts: dict[Cell, int] = field(default_factory=dict)
    sums: list[tuple[Cell, ...]] = field(default_factory=list)  # a total, then its parts
    roomy: list[bool] = field(
        default_factory=list
    )  # whether a sum alone tells too little to matter
    unprinted: set[Cell] = field(default_factory=set)  # for which pages print "withheld"
    rests: set[Cell] = field(default_factory=set)  # which no page prints
    same: dict[Cell, Cell] = field(default_factory=dict)
    totals: dict[frozenset[Cell], Cell] = field(default_factory=dict)  # parts -> their exact sum

    def __contains__(self, cell: Cell) -> bool:
        return cell in self.counts or cell in self.same

    def add(self, cell: Cell, count: int) -> None:
        self.counts[cell] = count

    def alias(self, cell: Cell, other: Cell) -> None:
        """The cell counts the same as another: they are printed alike."""
        self.same[cell] = self.same.get(other, other)

    def sum(self, total: Cell, parts: Iterable[Cell]) -> None:
        """The total is the sum of the parts and, if they are less, a rest that no page prints."""
        total = self.same.get(total, total)
        parts = [self.same.get(part, part) for part in parts]
        if (other := self.totals.get(frozenset(parts), total)) != total:
            # two totals of the same parts tell their difference: they are tied to each other
            parts = [other]
        rest = self.counts[total] - sum(self.counts[part] for part in parts)
        if rest < 0 or not parts or parts == [total]:  # they are of other things, or the same
            return
        if rest:
            parts.append(missing := ("rest", len(self.sums)))
            self.counts[missing] = rest
            self.rests.add(missing)
        else:
            self.totals[frozenset(parts)] = total
        # with a rest as large as this it is an inequality that by itself leaves room enough: a
        # small count and what it moves stay within it
        self.roomy += [rest >= self.smallest]
        self.sums.append((total, *parts))

    def nested(self, first: Cell, others: Mapping[Cell, int]) -> None:
        """Add counts of nearly the same patients as the first: none is printed beside a near one.

        Their difference is a count as well.
        """
        known = {self.counts[first]: first}
        for cell, count in sorted(others.items(), key=lambda item: -item[1]):
            if count in known:
                self.alias(cell, known[count])
                continue
            near = [other for n, other in known.items() if abs(n - count) < self.smallest]
            self.add(cell, count)
            known[count] = cell
            if not self.unprinted.issuperset(near):
                self.unprinted.add(cell)
            for other in near:
                if not self.unprinted.issuperset((cell, other)):
                    larger, smaller = sorted((cell, other), key=lambda name: -self.counts[name])
                    self.sum(larger, [smaller])

    def printed(self) -> Printed:
        """Choose what is printed, what as "fewer than `smallest`", and what not at all."""
        telling, roomy = (
            [terms for terms, other in zip(self.sums, self.roomy, strict=True) if other == kind]
            for kind in (False, True)
        )
        hiding = Hiding(self.smallest, self.counts, telling, roomy, self.unprinted | self.rests)
        small = frozenset(hiding.printed_as_small())
        withheld = frozenset((hiding.hidden | self.unprinted) - small)
        return Printed(self.counts, small, withheld, self.smallest, self.same)


def side_by_side(
    partitions: Mapping[str, Mapping[str, int]], smallest: int, rest: str = "other"
) -> list[str]:
    """Which partitions of nearly the same patients may be printed: the first, and others with it.

    Two that differ in a group by fewer than `smallest` would give away by subtraction who is in
    only one. Groups that either joins under `rest` are compared joined.
    """
    kept: list[str] = []
    for name, groups in partitions.items():
        small = any(0 < count < smallest for count in groups.values())
        if not small and all(_apart(groups, partitions[other], smallest, rest) for other in kept):
            kept.append(name)
    return kept


def _apart(first: Mapping[str, int], second: Mapping[str, int], smallest: int, rest: str) -> bool:
    shared = (first.keys() & second.keys()) - {rest}
    gaps = [first[name] - second[name] for name in shared]
    left = [
        sum(n for name, n in groups.items() if name not in shared) for groups in (first, second)
    ]
    return all(gap == 0 or abs(gap) >= smallest for gap in (*gaps, left[0] - left[1]))
