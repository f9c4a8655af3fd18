"""What a reader can work out of counts that are not printed, from the printed ones and the sums.

Ranges are followed through one sum at a time first. Where sums tie counts in a circle, several of
them together may tell more than each alone: there, integer programs look for other counts that
agree with all that is printed (the audit of Fischetti and Salazar, Management Science
47:1008-1027, 2001).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np

Cell = Hashable
Range = tuple[float, float]
_PASSES = 50  # over all sums; ranges settle after about as many as totals stand above each other
_NODES = 500  # of a program's search tree; what is not settled by then counts as worked out


class Reader:
    """What one who has the sums, each a total and then its parts, can work out for each count."""

    def __init__(
        self,
        counts: Mapping[Cell, int],
        sums: Sequence[tuple[Cell, ...]],
        roomy: Sequence[tuple[Cell, ...]],
    ) -> None:
        """
        Args:
            roomy: sums that alone tell too little to matter: they only count in circles.
        """
        self.counts = counts
        self.sums = sums
        self.all_sums = [*sums, *roomy]
        # the least and the most of each count in sets of counts that agree with what is printed
        self.possible: dict[Cell, Range] = {cell: (n, n) for cell, n in counts.items()}

    def knows(self, told: Mapping[Cell, Range], cells: Sequence[Cell], width: int) -> list[Cell]:
        """Those of the cells whose least and most possible values are less than `width` apart.

        Of cells that are known by several sums together, one of each circle.

        Args:
            told: what is printed for the cells that are not printed as they are; from one call to
                the next, ranges may only become wider.
        """
        ranges = self._worked_out(told)
        narrow = [cell for cell in cells if ranges[cell][1] - ranges[cell][0] < width]
        if narrow:
            return narrow
        wanted = set(cells)
        circles = (_Circle(*circle, self.counts, ranges) for circle in self._circles(ranges))
        first = (self._first_known(circle, wanted, width) for circle in circles)
        return [cell for cell in first if cell is not None]

    def _worked_out(self, told: Mapping[Cell, Range]) -> dict[Cell, Range]:
        """What follows for every cell from one sum after the other, as a range."""
        ranges: dict[Cell, Range] = {cell: (n, n) for cell, n in self.counts.items()}
        ranges |= told
        for _ in range(_PASSES):
            before = dict(ranges)
            for total, *parts in self.sums:
                lows, highs = zip(*(ranges[part] for part in parts), strict=True)
                least, most = sum(lows), sum(high for high in highs if high < math.inf)
                open_ended = sum(high == math.inf for high in highs)
                ranges[total] = _both(ranges[total], (least, math.inf if open_ended else most))
                low, high = ranges[total]
                for part, part_low, part_high in zip(parts, lows, highs, strict=True):
                    unbounded = open_ended - (part_high == math.inf) > 0
                    others = most - (part_high if part_high < math.inf else 0)
                    within = (-math.inf if unbounded else low - others, high - (least - part_low))
                    ranges[part] = _both(ranges[part], within)
            if ranges == before:
                break
        return ranges

    def _circles(
        self, ranges: Mapping[Cell, Range]
    ) -> Iterator[tuple[list[Cell], list[tuple[Cell, ...]]]]:
        """Unknown counts that sums tie in a circle, and these sums; a tree's ranges are exact."""
        unknown = {cell for cell, (low, high) in ranges.items() if low < high}
        sums_of: dict[Cell, list[int]] = {}
        for index, terms in enumerate(self.all_sums):
            for cell in unknown.intersection(terms):
                sums_of.setdefault(cell, []).append(index)
        visited: set[Cell] = set()
        for start in self.counts:
            if start not in sums_of or start in visited:
                continue
            visited.add(start)
            cells, sums = [start], dict.fromkeys(sums_of[start])
            for cell in cells:  # grows
                for index in sums_of[cell]:
                    sums[index] = None
                    more = [cell for cell in self.all_sums[index] if cell in unknown]
                    cells += dict.fromkeys(cell for cell in more if cell not in visited)
                    visited.update(more)
            terms_of = [self.all_sums[index] for index in sums]
            ties = sum(cell in unknown for terms in terms_of for cell in terms)
            if ties >= len(cells) + len(sums):  # in a tree they are one fewer
                yield cells, terms_of

    def _first_known(self, circle: _Circle, wanted: set[Cell], width: int) -> Cell | None:
        """The first of the wanted cells with no two possible values that are `width` apart."""
        while doubtful := [
            index
            for index, cell in enumerate(circle.cells)
            if cell in wanted and self._apart(cell) < width
        ]:
            cell = circle.cells[doubtful[0]]
            for columns in (doubtful, doubtful[:1]):  # if need be, with room for all others
                if self._apart(cell) < width:
                    self._try(circle, columns, width)
            if self._apart(cell) < width:
                return cell
        return None

    def _try(self, circle: _Circle, columns: list[int], width: int) -> None:
        for counts in circle.extremes(columns, width):
            for cell, count in zip(circle.cells, counts.tolist(), strict=True):
                low, high = self.possible[cell]
                self.possible[cell] = min(low, count), max(high, count)

    def _apart(self, cell: Cell) -> float:
        return self.possible[cell][1] - self.possible[cell][0]


class _Circle:
    """Unknown counts [cells] and the sums that tie them, [sums, cells] @ counts = what is known."""

    def __init__(
        self,
        cells: Sequence[Cell],
        sums: Sequence[tuple[Cell, ...]],
        counts: Mapping[Cell, int],
        ranges: Mapping[Cell, Range],
    ) -> None:
        from scipy.sparse import csr_array

        self.cells = cells
        column = {cell: index for index, cell in enumerate(cells)}
        ties = [
            (row, column[cell], 1 if place else -1)
            for row, terms in enumerate(sums)
            for place, cell in enumerate(terms)
            if cell in column
        ]
        rows, columns, signs = np.array(ties).T
        self.sums = csr_array((signs, (rows, columns)), shape=(len(sums), len(cells)))
        self.counts = np.array([counts[cell] for cell in cells])
        self.low, self.high = np.array([ranges[cell] for cell in cells]).T

    def extremes(self, columns: list[int], width: int) -> Iterator[np.ndarray]:
        """Counts that agree with all sums, the first of the columns as high as can be, then as low.

        The others only follow, half of them up and half of them down, so that few programs settle
        most cells; and none goes further than `width`, which leaves room to the rest.
        """
        low, high = self.low.copy(), self.high.copy()
        low[columns] = np.maximum(low[columns], self.counts[columns] - width)
        high[columns] = np.minimum(high[columns], self.counts[columns] + width)
        direction = np.zeros(len(self.cells))
        direction[columns] = np.resize([1, -1], len(columns))
        direction[columns[0]] = 1 + 2 * width * len(columns)  # more than all others can outweigh
        for towards in (direction, -direction):
            if (counts := self._farthest(towards, low, high)) is not None:
                yield counts

    def _farthest(
        self, direction: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray | None:
        from scipy.optimize import Bounds, LinearConstraint, milp

        known = self.sums @ self.counts
        solution = milp(
            -direction,
            integrality=np.ones(len(self.cells)),
            bounds=Bounds(low, high),
            constraints=LinearConstraint(self.sums, known, known),
            options={"node_limit": _NODES, "mip_rel_gap": 0},
        )
        if solution.x is None:
            return None
        counts = np.rint(solution.x)
        agree = (low <= counts) & (counts <= high)
        return counts if agree.all() and (self.sums @ counts == known).all() else None


def _both(first: Range, second: Range) -> Range:
    return max(first[0], second[0]), min(first[1], second[1])
