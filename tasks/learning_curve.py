"""What trainings have come to so far, drawn: the loss, and the value on validation, by step."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.drawing.axes import Axis, drawable
from tasks.drawing.charts import Series
from tasks.drawing.picture import picture
from tasks.reporting import Reading

POINTS = 120  # of a line at most: a picture then takes some 3 KB, and 2 KB more for each line
MARKED = 20  # a line of fewer points has a mark at each
LINES = 6  # the last trainings of a step; one may have dozens


@dataclass
class _Line:
    """Evenly spaced points of what was added, and the last."""

    numbered: list[tuple[int, tuple[float, float]]] = field(default_factory=list)
    count: int = 0
    stride: int = 1

    @property
    def points(self) -> list[tuple[float, float]]:
        return [point for _, point in self.numbered]

    def add(self, step: float, value: float) -> None:
        self.numbered.append((self.count, (step, value)))
        self.count += 1
        if self.count / self.stride > POINTS - 1:
            self.stride *= 2
        self.numbered = [
            (number, point)
            for number, point in self.numbered
            if number % self.stride == 0 or number == self.count - 1
        ]


class LearningCurve:
    """A chart for each measure, and a line for each training, of the readings so far."""

    def __init__(self) -> None:
        self.charts: dict[str, dict[str, _Line]] = {}  # measure -> training -> line

    def add(self, reading: Reading) -> None:
        for measure, value in reading.measured.items():
            if drawable(value):
                lines = self.charts.setdefault(measure, {})
                lines.setdefault(reading.training, _Line()).add(reading.done, value)
                if len(lines) > LINES:
                    del lines[next(iter(lines))]

    def markdown(self) -> str:
        """The charts as images within Markdown; nothing where there is nothing to draw."""
        return " ".join(  # one paragraph: of a description the first UI shows no more
            _image(measure, {name: line.points for name, line in lines.items()})
            for measure, lines in self.charts.items()
        )


def _image(measure: str, lines: dict[str, list[tuple[float, float]]]) -> str:
    points = [point for line in lines.values() for point in line]
    values = [value for _, value in points]
    margin = 0.05 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 1.0
    series = [
        Series(name, line, style, marks=len(line) < MARKED, joined=len(line) < MARKED)
        for style, (name, line) in enumerate(lines.items())
    ]
    x = Axis("step", 0, 1.02 * max(step for step, _ in points) or 1)
    y = Axis(measure, min(values) - margin, max(values) + margin)
    words = f"{measure} by step"
    return f"![{words}]({picture(series, x, y, description=words)})"
