"""Axes of a chart: where a value lies, which round values stand there, what can be drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

LARGEST = 1e100  # beyond it a value is as good as infinite: differences would overflow
ZERO_SHARE = 0.07  # of a logarithmic axis that has a zero: the room between that and its scale


class NothingToDraw(Exception):
    """A figure has no value that can be drawn; its message says so on the page."""


@dataclass(frozen=True)
class Axis:
    """An axis: what it measures, from where to where, and whether in powers of ten."""

    title: str
    low: float
    high: float
    log: bool = False
    zero: bool = False  # a logarithmic axis with 0 at its low end, off the scale
    names: tuple[str, ...] = ()  # of the categories at 0, 1, 2, ...

    def position(self, value: float) -> float:
        """Where the value lies between the ends, 0 to 1; outside of them, at the nearer one."""
        if self.log and value <= 0:
            return 0.0
        ends = (self.low, self.high, value)
        low, high, value = (math.log10(v) for v in ends) if self.log else ends
        share = min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5
        start = ZERO_SHARE if self.zero else 0.0
        return start + (1 - start) * share

    def ticks(self) -> list[float]:
        """Round values inside the axis: 1, 2 or 5 times a power of ten; powers alone if many."""
        if self.names:
            return [float(index) for index in range(len(self.names))]
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            wide = self.high / self.low >= 200
            times = (1,) if wide else (1, 2, 5)
            ticks = [10.0**power * by for power in powers for by in times]
            zero = [0.0] if self.zero else []
            return zero + [tick for tick in ticks if self.low <= tick <= self.high]
        least = max(1e-300, 1e-9 * max(abs(self.high), abs(self.low)))
        if not self.high - self.low > least:
            return [self.low]  # one value
        rough = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def label(self, tick: float) -> str:
        """What stands at a tick."""
        return escape(self.names[round(tick)]) if self.names else _number(tick)


def finite(values: Iterable[float]) -> list[float]:
    """Those of the values that are numbers. Raises NothingToDraw where none is."""
    numbers = [value for value in values if drawable(value)]
    if not numbers:
        raise NothingToDraw("none of its values is a finite number")
    return numbers


def drawable(value: float) -> bool:
    return abs(value) < LARGEST  # nor is NaN


def _number(value: float) -> str:
    if value and abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    if value and abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.10g}" if abs(value) > 1e-12 else "0"
