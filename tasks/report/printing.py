"""How the pages print a metrics row, a name, or a count: the one place for these words.

A measure that was not taken is a dash. One that was and has no value is "undefined" (no case, or
no control). One that has a value and should have an interval, but no trustworthy one, is printed
with "interval withheld". A count of patients is "<10" or "withheld" (`cells.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.metrics_table import WITHHELD
from tasks.report.findings import SYSTEMS, outcome_title

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
MISSING = "\u2013"  # an en dash: not measured
UNDEFINED = "undefined"
_Row = Mapping[str, Any] | None


@cache
def environment() -> Environment:
    """The templates of all pages, with their filters; HTML is escaped, Markdown is not."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "auroc": number,
        "span": span,
        "figure": partial(figure, expected=False),
        "signed": partial(number, form="+.3f"),
        "signed_span": partial(span, form="+.3f"),
        "auroc_figure": figure,
        "signed_figure": partial(figure, form="+.3f"),
        "percent": percent,
        "share": share,
        "p_value": p_value,
        "count": count,
        "fact": lambda value: f"{value:.4g}" if isinstance(value, float) else str(value),
        "setting": setting,
        "order_of_sum": order_of_sum,
        "column": column_title,
        "outcome": outcome_title,
        "system": lambda name: str(SYSTEMS.get(name, name)),
        "plain": plain,
        "cell": lambda text: str(text).replace("|", "/").replace("\n", " "),
        "duration": duration,
        "in_seconds": in_seconds,
        "operations": operations,
        "times_as_efficient": times_as_efficient,
    }
    templates.filters.update(filters)
    return templates


def number(row: _Row, form: str = ".3f") -> str:
    """The value of a row.

    >>> number({"value": 0.75}), number({"value": None}), number(None)
    ('0.750', 'undefined', '–')
    """
    if row is None:
        return MISSING
    return UNDEFINED if row["value"] is None else f"{row['value']:{form}}"


def span(row: _Row, form: str = ".3f", *, expected: bool = True) -> str:
    """The interval of a row; nothing where there is no value to have it.

    Where it is not `expected`, nothing for a measure that has none by nature, too.
    """
    if row is None or row["value"] is None:
        return ""
    if row["low"] is None or row["high"] is None:
        return WITHHELD if expected or row["method"].startswith(WITHHELD) else ""
    return f"{row['low']:{form}} to {row['high']:{form}}"


def figure(row: _Row, form: str = ".3f", *, expected: bool = True) -> str:
    """The value with its interval, in a line.

    >>> figure({"value": 0.812, "low": 0.79, "high": 0.834, "method": "DeLong"})
    '0.812 (0.790 to 0.834)'
    >>> few = {"value": 0.812, "low": None, "high": None, "method": "interval withheld: few"}
    >>> figure(few), figure(few | {"method": "a median has none"}, expected=False)
    ('0.812 (interval withheld)', '0.812')
    """
    interval = span(row, form, expected=expected)
    return number(row, form) + (f" ({interval})" if interval else "")


def why_withheld(row: Mapping[str, Any]) -> str:
    """Why a row has no interval or no value; nothing where it has both.

    >>> why_withheld({"value": 0.8, "low": None, "method": "interval withheld: one patient"})
    'one patient'
    """
    if row["value"] is not None and row["low"] is not None:
        return ""
    head, _, reason = row["method"].partition(f"{WITHHELD}: ")
    if reason and not head:
        return reason
    return UNDEFINED if row["value"] is None else "too few patients to see its spread"


def headline_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in the table for a terminal: no AUROC without its interval, or that it is withheld.

    >>> headline_of({"value": 0.8123, "low": 0.79, "high": 0.83, "method": "DeLong"})
    {'macro AUROC': 0.812, '95% interval': '0.790–0.830'}
    """
    value = row["value"]
    interval = span(row).replace(" to ", "\u2013").removeprefix("interval ") or UNDEFINED
    rounded = None if value is None else round(value, 3)
    return {"macro AUROC": rounded, "95% interval": interval}


def percent(row: _Row) -> str:
    return number(row) if row is None or row["value"] is None else f"{100 * row['value']:.0f}%"


def share(row: _Row) -> str:
    if row is None or row["low"] is None or row["high"] is None:
        return span(row)
    return f"{100 * row['low']:.0f}% to {100 * row['high']:.0f}%"


def p_value(value: float | None) -> str:
    """A p-value.

    >>> p_value(0.0004), p_value(0.04), p_value(None)
    ('< 0.001', '0.040', '–')
    """
    if value is None or value != value:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float | None) -> str:
    """A number of steps, tokens or labels; of patients it is `Counts` that prints."""
    return MISSING if value is None else f"{value:,.0f}"


def operations(value: float | None) -> str:
    """A number of operations.

    >>> operations(1234567890123.0), operations(None)
    ('1.2e+12', '–')
    """
    return MISSING if value is None else f"{value:.1e}"


def times_as_efficient(value: float | None) -> str:
    """How many times as efficient as the worst.

    >>> times_as_efficient(86.31), times_as_efficient(float("inf")), times_as_efficient(None)
    ('86.3', 'the least of both', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    return "the least of both" if math.isinf(value) else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Seconds as a reader takes them in.

    >>> duration(0.42), duration(42.4), duration(754), duration(5400), duration(None)
    ('0.4 s', '42 s', '12.6 min', '1.5 h', '–')
    """
    if seconds is None:
        return MISSING
    if seconds < 120:
        return f"{in_seconds(seconds)} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def in_seconds(seconds: float | None) -> str:
    """Whole seconds, and tenths where there are few: what took a moment did not take 0 s."""
    return f"{seconds:.1f}" if seconds is not None and seconds < 10 else count(seconds)


def column_title(column: str) -> str:
    """A column's name in words.

    >>> column_title("admission_type")
    'Admission type'
    """
    return column.replace("_", " ").capitalize()


def setting(value: Any) -> str:
    """A value of the configuration.

    >>> setting(None), setting(True), setting(["q_proj", "v_proj"])
    ('none', 'yes', 'q_proj, v_proj')
    """
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def plain(text: object) -> str:
    """A text as a cell of a Markdown table: no bar, no line break, no markup.

    >>> plain("a|b <i>c</i>")
    'a/b &lt;i>c&lt;/i>'
    """
    return " ".join(str(text or "no title").replace("|", "/").replace("<", "&lt;").split())


def order_of_sum(adapters: Sequence[str]) -> str:
    """Of a sum that another order would change, in words.

    >>> order_of_sum(("clinical", "task"))
    'DoRA scales what was added before it, so that the order counts: base, clinical, task'
    """
    order = ", ".join(("base", *adapters))
    return f"DoRA scales what was added before it, so that the order counts: {order}"
