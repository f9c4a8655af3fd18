"""How the templates print a metrics row, a name, or a count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.evaluate.report.findings import SYSTEMS, variant_title

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
MISSING = "\u2013"  # an en dash
WITHHELD = "interval withheld"
_Row = Mapping[str, Any] | None


def environment(smallest_cell: int) -> Environment:
    """The templates with their filters; counts below `smallest_cell` are not printed."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from tasks.evaluate.report.figures import short

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "auroc": auroc,
        "span": span,
        "signed": signed,
        "signed_span": lambda row: span(row, sign=True),
        "percent": percent,
        "share": share,
        "p_value": p_value,
        "count": count,
        "small": lambda found: small(found, smallest_cell),
        "variant": variant_title,
        "short": short,
        "fact": lambda value: f"{value:.4g}" if isinstance(value, float) else str(value),
        "system": lambda name: str(SYSTEMS.get(name, name)),
        "plain": plain,
        "duration": duration,
    }
    made.filters.update(filters)
    return made


def auroc(row: _Row) -> str:
    return MISSING if row is None or row["value"] is None else f"{row['value']:.3f}"


def span(row: _Row, sign: bool = False) -> str:
    if row is None or row["low"] is None:
        return WITHHELD
    form = "+.3f" if sign else ".3f"
    return f"{row['low']:{form}} to {row['high']:{form}}"


def signed(row: _Row) -> str:
    return MISSING if row is None or row["value"] is None else f"{row['value']:+.3f}"


def percent(row: _Row) -> str:
    return MISSING if row is None or row["value"] is None else f"{100 * row['value']:.0f}%"


def share(row: _Row) -> str:
    if row is None or row["low"] is None:
        return WITHHELD
    return f"{100 * row['low']:.0f}% to {100 * row['high']:.0f}%"


def p_value(row: _Row) -> str:
    if row is None or row["value"] is None:
        return MISSING
    return "< 0.001" if row["value"] < 0.001 else f"{row['value']:.3f}"


def count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def small(found: int, smallest: int) -> str:
    return f"<{smallest}" if 0 < found < smallest else f"{found:,}"


def duration(seconds: float | None) -> str:
    """Seconds as a reader takes them in.

    >>> duration(42.4), duration(754), duration(5400), duration(None)
    ('42 s', '12.6 min', '1.5 h', '–')
    """
    if seconds is None:
        return MISSING
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plain(text: str | None) -> str:
    """A text as a cell of a Markdown table: no bar, no line break, no markup.

    >>> plain("a|b <i>c</i>")
    'a/b &lt;i>c&lt;/i>'
    """
    return " ".join((text or "no title").replace("|", "/").replace("<", "&lt;").split())
