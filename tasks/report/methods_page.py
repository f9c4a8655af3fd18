"""The table of clinical adapters, like the paper's Table 2, which stands below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import schemas, tables
from tasks.metrics_table import NEXT_TOKEN
from tasks.report.config import NOTE, Adapted, Lineage
from tasks.report.document import Part, write_document
from tasks.report.facts import Making
from tasks.report.findings import ANSWERED_BY
from tasks.report.leaderboard_page import compared
from tasks.report.missing import Missing
from tasks.report.printing import count, duration, figure, number, span, why_withheld

BASE_ALONE = "none (the base alone)"
# Gema et al. 2023, Table 2: base, method, trained parameters, test perplexity, training time
PUBLISHED = (
    ("LLaMA 7B", "LoRA", 8_388_608, 2.244, "21:37:42"),
    ("LLaMA 7B", "adaptation prompt", 1_228_830, 2.865, "24:57:17"),
    ("LLaMA 7B", "prefix tuning", 5_242_880, 2.748, "20:11:07"),
    ("LLaMA 7B", "prompt tuning", 61_440, 4.007, "23:27:28"),
    ("LLaMA 7B", "P-tuning", 16_093_696, 3.271, "23:49:31"),
    ("PMC-LLaMA 7B", "LoRA", 2_097_152, 2.404, "21:32:59"),
    ("PMC-LLaMA 7B", "adaptation prompt", 1_228_830, 2.867, "23:33:10"),
    ("PMC-LLaMA 7B", "prefix tuning", 2_621_440, 2.848, "20:13:10"),
    ("PMC-LLaMA 7B", "prompt tuning", 40_960, 4.385, "22:25:32"),
    ("PMC-LLaMA 7B", "P-tuning", 2_171_392, 4.572, "22:28:15"),
)

_Row = Mapping[str, Any] | None


@dataclass(frozen=True)
class Entry:
    """A run's adapter: how likely unseen notes are with it and without, and what it took."""

    run: str
    adapted: Adapted
    rows: Mapping[str, _Row]  # metric -> its row
    patients: str  # whose notes were read
    seconds: float
    peak_mib: float

    @property
    def masked_words(self) -> bool:
        """Whether an encoder's masked words were scored, and not next tokens."""
        return self.outcome != NEXT_TOKEN

    @property
    def outcome(self) -> str:
        """What was scored: tasks.metrics_table."""
        row = self.rows["loss_after"]
        return row["outcome"] if row else NEXT_TOKEN

    def likelihood(self, end: str) -> _Row:
        """Perplexity, or of an encoder the loss; `end`: before or after."""
        return self.rows[f"{'loss' if self.masked_words else 'perplexity'}_{end}"]


@dataclass(frozen=True)
class Line:
    """A row of a table, as text."""

    base: str
    method: str
    parameters: str  # of the adapter
    likelihood: str  # perplexity, or the loss of masked words
    ratio: str  # of the perplexities, on the same notes
    bits: str
    apart: str  # from the base, on the same notes: bits per byte, or the loss of masked words
    seconds: str
    peak_mib: str


@dataclass(frozen=True)
class Methods:
    """All that the page tells."""

    name: str
    entries: Sequence[Entry]
    settings: Mapping[str, Mapping[str, Any]]  # run -> how it was pretrained
    lineage: Lineage
    synthetic: bool  # whether the patients were generated
    made: Making

    @property
    def title(self) -> str:
        """Of the page."""
        return f"{self.name}: domain pretraining by method"


def entries(
    metrics: Path,
    adapters: Mapping[str, Path],
    methods: Mapping[str, Adapted],
    smallest_cell: int,
) -> list[Entry]:
    """Read what was measured of each run, in the runs' order."""
    rows = tables.read(metrics / "metrics.parquet", schemas.METRICS).to_pylist()
    made = []
    for run, adapted in methods.items():
        last = tables.read(adapters[run] / "history.parquet", schemas.HISTORY).to_pylist()[-1]
        of_run = {row["metric"]: row for row in rows if row["run"] == run}
        patients = of_run["loss_after"]["n_patients"]
        few = patients < smallest_cell
        words = f"fewer than {smallest_cell}" if few else count(patients)
        made.append(Entry(run, adapted, of_run, words, last["seconds"], last["peak_mib"]))
    return made


def write_page(out: Path, methods: Methods) -> list[Missing]:
    """Write `report.html`, `report.md`, and `headline.json` (the table for a terminal)."""
    shared = {"leaderboard": methods, "leaks": {}, "settings": compared(methods.settings)}
    parts = [
        Part("results", "Results", lambda: _results(methods.entries)),
        Part("published", "Published figures", lambda: {"published": PUBLISHED}),
        Part("differs", "What differs"),
        Part("numbers", "What the numbers mean", lambda: {"entries": methods.entries}),
        Part("lineage", "Lineage"),
    ]
    return write_document(
        out, "leaderboard", parts, shared, lambda: headline(methods.entries), folder="methods"
    )


def _results(entries: Sequence[Entry]) -> dict[str, Any]:
    masked = [entry for entry in entries if entry.masked_words]
    decoders = [entry for entry in entries if not entry.masked_words]
    answered_by = dict.fromkeys(
        f"{entry.adapted.base}: {ANSWERED_BY[entry.outcome]}" for entry in masked
    )
    return {"lines": lines(decoders), "masked": lines(masked), "answered_by": list(answered_by)}


def lines(entries: Sequence[Entry]) -> list[Line]:
    """The table: each base alone, and below it the adapters on it."""
    table = []
    for group in _by_base(entries):
        base, first = group[0].adapted.base, group[0]
        likelihood = figure(first.likelihood("before"))
        bits = figure(first.rows.get("bits_per_byte_before"))
        table.append(Line(base, BASE_ALONE, "0", likelihood, "", bits, "", "", ""))
        table += [
            Line(
                base=base,
                method=_method(entry),
                parameters=count(entry.adapted.parameters),
                likelihood=figure(entry.likelihood("after")),
                ratio=figure(entry.rows.get("perplexity_ratio")),
                bits=figure(entry.rows.get("bits_per_byte_after")),
                apart=figure(
                    entry.rows["loss_diff" if entry.masked_words else "bits_per_byte_diff"], "+.3f"
                ),
                seconds=duration(entry.seconds),
                peak_mib=count(entry.peak_mib),
            )
            for entry in group
        ]
    return table


def headline(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The table for a terminal."""
    table = []
    for group in _by_base(entries):
        first = group[0]
        measured = _headline(first, "before")
        table.append({"run": first.adapted.base, "trained": "0", **measured, "time": "", "MiB": ""})
        table += [
            {
                "run": entry.run,
                "trained": count(entry.adapted.parameters),
                **_headline(entry, "after"),
                "time": duration(entry.seconds),
                "MiB": count(entry.peak_mib),
                NOTE: why_withheld(entry.likelihood("after") or {}),
            }
            for entry in group
        ]
    empty = [name for name in _MEASURED if not any(row[name] for row in table)]
    return [{name: row[name] for name in row if name not in empty} for row in table]


_MEASURED = ("perplexity", "masked loss", "95% interval", "bits/byte")  # columns of the headline


def _headline(entry: Entry, end: str) -> dict[str, str]:
    likelihood = entry.likelihood(end)
    value = number(likelihood)
    bits = entry.rows.get(f"bits_per_byte_{end}")
    columns = (
        "" if entry.masked_words else value,
        value if entry.masked_words else "",
        span(likelihood).replace(" to ", "\u2013").removeprefix("interval "),
        "" if entry.masked_words else number(bits),
    )
    return dict(zip(_MEASURED, columns, strict=True))


def _by_base(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Those that read the same notes with the same base, in the order in which these come first."""
    groups: dict[tuple[str, float], list[Entry]] = {}
    for entry in entries:
        before = entry.likelihood("before")
        key = entry.adapted.base, before["value"] if before else 0.0
        groups.setdefault(key, []).append(entry)
    return list(groups.values())


def _method(entry: Entry) -> str:
    """The method, and the run where its name says more."""
    named = entry.run.endswith(entry.adapted.method)
    return entry.adapted.method if named else f"{entry.adapted.method} ({entry.run})"
