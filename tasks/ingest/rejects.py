"""The rows of a file that could not be used: where and why, never what they held."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from tasks.errors import SourceError
from tasks.schemas import REJECTS

_EXAMPLES = 3


@dataclass
class Rejects:
    """Counts a file's rows and gathers those that could not be used, one reason a row."""

    file: str
    max_share: float
    rows: int = 0  # seen, the rejected ones too
    found: list[tuple[int, str | None, str]] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path, max_share: float) -> Rejects:
        return cls(path.name, max_share)

    def add(self, line: int, column: str | None, reason: str) -> None:
        """Note a row of which the record starts on that line (1 is the header)."""
        self.found.append((line, column, reason))

    def table(self) -> pa.Table:
        """The rows noted, of schema REJECTS, in the file's order."""
        found = sorted(self.found, key=lambda row: row[0])
        return pa.table(
            {
                "file": pa.array([self.file] * len(found), pa.string()),
                "line": pa.array([line for line, _, _ in found], pa.int64()),
                "column": pa.array([column for _, column, _ in found], pa.string()),
                "reason": pa.array([reason for _, _, reason in found], pa.string()),
            },
            schema=REJECTS,
        )

    def check(self) -> None:
        """Raise SourceError where more than the allowed share of the rows was rejected."""
        if not self.found or len(self.found) <= self.max_share * self.rows:
            return
        examples = "; ".join(
            f"line {line}: {f'{column} ' if column else 'the row '}{reason}"
            for line, column, reason in sorted(self.found, key=lambda row: row[0])[:_EXAMPLES]
        )
        raise SourceError(
            f"{self.file}: {len(self.found)} of {self.rows} rows cannot be used, more than the "
            f"allowed share of {self.max_share:g} ({examples}); correct the file, or raise "
            "ingest.max_reject_share"
        )


def gather(*rejects: Rejects) -> pa.Table:
    """The rejected rows of several files in one table, of schema REJECTS."""
    return pa.concat_tables([REJECTS.empty_table(), *(each.table() for each in rejects)])
