"""Public releases as they unpack, written from invented cases or from a copy's tables."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

HEADING = "History of Present Illness:\n"
PARTS = {"train": "train", "validation": "dev", "test": "test"}  # of a split
Row = dict[str, str]


@dataclass
class CodiEsp:
    """A release in final_dataset_v4_to_publish: texts and code rows by part."""

    texts: dict[str, dict[str, str]] = field(
        default_factory=lambda: {part: {} for part in (*PARTS.values(), "background")}
    )
    codes: dict[str, list[tuple[str, str]]] = field(  # by part and D or P
        default_factory=lambda: {f"{part}{task}": [] for part in PARTS.values() for task in "DP"}
    )

    def write(self, root: Path) -> Path:
        for part, texts in self.texts.items():
            folder = root / part / "text_files_en"
            folder.mkdir(parents=True)
            for name, text in texts.items():
                (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
        for name, rows in self.codes.items():
            lines = "".join(f"{case}\t{code}\n" for case, code in rows)
            (root / name[:-1] / f"{name}.tsv").write_text(lines)
        return root


def invented() -> CodiEsp:
    """Twelve labelled cases, of which each split has some, and three for the background."""
    release = CodiEsp()
    for number in range(12):
        part = ("train", "train", "dev", "test")[number % 4]
        name = f"S0000-{number:02}00-1"
        words = " ".join(f"word{number * 7 + i}" for i in range(40))
        release.texts[part][name] = f"A patient has fever, case {number}.\nHe said {words}.\n"
        release.codes[f"{part}D"] += [(name, "r50.9"), (name, "s22.49xz"), (name, "e11.9")]
        if number % 3 == 0:
            release.codes[f"{part}P"] += [(name, "0dtj"), (name, "bw40zzz")]
    for number in range(3):
        words = " ".join(f"unlabelled{number * 5 + i}" for i in range(30))
        release.texts["background"][f"S1111-{number}-1"] = f"A woman of {words}.\n"
    return release


def codiesp_of(labelled: Path, background: Path) -> CodiEsp:
    """The release that a copy was made of, as far as the copy tells."""
    release = CodiEsp()
    cases = {row["subject_id"]: row for row in rows_of(labelled / "splits.csv")}
    for note in rows_of(labelled / "note/discharge.csv.gz"):
        case = cases[note["subject_id"]]
        release.texts[PARTS[case["split"]]][case["document"]] = note["text"].removeprefix(HEADING)
    for task, table in (("D", "diagnoses_icd"), ("P", "procedures_icd")):
        for row in rows_of(labelled / f"hosp/{table}.csv.gz"):
            case, code = cases[row["subject_id"]], row["icd_code"].lower()
            dotted = f"{code[:3]}.{code[3:]}" if task == "D" and len(code) > 3 else code
            release.codes[f"{PARTS[case['split']]}{task}"].append((case["document"], dotted))
    for name, text in named_texts(background):
        release.texts["background"][name] = f"{text}\n"
    return release


def write_e3c(root: Path, documents: list[Row]) -> Path:
    """Documents of E3C, a third in each layer."""
    for number, document in enumerate(documents):
        path = root / f"data_collection/English/layer{number % 3 + 1}/{document['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        more = {"authors": [{"author": "A B"}], "doi": "10.0/0", "language": "en", "type": "pubmed"}
        path.write_text(json.dumps(more | document, indent=2), encoding="utf-8")
    return root


def e3c_of(copy: Path) -> list[Row]:
    """The documents that a copy was made of."""
    texts = dict(named_texts(copy))
    columns = "licence", "source", "url"
    return [
        {"id": name, "text": texts[name]} | {column: row[column] for column in columns}
        for row in rows_of(copy / "documents.csv.gz")
        if (name := row["document"])
    ]


def named_texts(folder: Path) -> list[tuple[str, str]]:
    """The name and the text of each case of an unlabelled release."""
    names = {row["subject_id"]: row["document"] for row in rows_of(folder / "documents.csv.gz")}
    notes = rows_of(folder / "note/discharge.csv.gz")
    return [(names[note["subject_id"]], note["text"].removeprefix(HEADING)) for note in notes]


def rows_of(path: Path) -> list[Row]:
    return list(csv.DictReader(io.StringIO(content(path), newline="")))


def column(path: Path, name: str) -> list[str]:
    return [row[name] for row in rows_of(path)]


def content(path: Path) -> str:
    """A table's text, unpacked where it is packed."""
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()


def by_code(path: Path) -> dict[str, str]:
    """The title of each code in a d_icd table."""
    return {row["icd_code"]: row["long_title"] for row in rows_of(path)}


def tables_in(folder: Path) -> dict[str, Path]:
    """The tables of a source, by their path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path for path in files}


def codes_of(folder: Path, table: str) -> dict[str, list[str]]:
    """The codes of each patient in their order."""
    codes: dict[str, list[str]] = defaultdict(list)
    for row in rows_of(folder / f"hosp/{table}.csv.gz"):
        codes[row["subject_id"]].append(row["icd_code"])
    return codes
