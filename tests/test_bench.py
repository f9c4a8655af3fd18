"""What `make bench` prints can be read on a terminal of 80 columns."""

from __future__ import annotations

import io

from rich.console import Console

from tests.bench.__main__ import table_of


def test_a_table_is_whole_at_80_columns() -> None:
    rows = [
        {
            "what": "macro AUROC with its interval, 1,266 labels x 9,829 admissions",
            "unit": "s",
            "ours": 0.123456,
            "peer": 1234.5678,
            "peer_name": "1,000 bootstrap draws with scikit-learn, extrapolated from 5",
            "ratio": 10000.0,
            "goal": "93 to 97; 92 at 200",
            "peak_mib": 3901,
        },
        {"what": "coverage [of] one label", "unit": "%, ± 0.49", "ours": 94.9, "peer": None},
    ]
    printed = io.StringIO()
    Console(file=printed, width=80).print(table_of("a bench", rows))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    whole = " ".join(printed.getvalue().split())
    for words in ("0.123 s", "1,235 s", "10,000", "3901", "extrapolated", "[of]", "admissions"):
        assert words in whole
    assert "\u2026" not in whole
