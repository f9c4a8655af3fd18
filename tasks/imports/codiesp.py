"""CodiEsp v4 (CLEF eHealth 2020): 1,000 coded clinical cases, and 2,751 others without codes.

The release, as codiesp.zip of Zenodo unpacks:

    final_dataset_v4_to_publish/
        train/  trainD.tsv  trainP.tsv  text_files_en/*.txt     (dev and test likewise)
        background/  text_files_en/*.txt

A line of a .tsv file is a case's name and an ICD-10 code in small letters, with a tab between them.
Background cases that are nearly a labelled one stay in: ingest's guard finds those.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import SourceError
from tasks.imports.mimic_iv import Case, Listing, write_labelled, write_unlabelled
from tasks.imports.output import check_free, whole_folders

WHERE = "unpack codiesp.zip of https://zenodo.org/records/3837305 (CodiEsp v4)"

_TEXTS = "text_files_en"
_SPLITS = {"train": "train", "dev": "validation", "test": "test"}  # and what ingest calls them
_NEEDED = (
    *(f"{part}/{part}{task}.tsv" for part in _SPLITS for task in "DP"),
    *(f"{part}/{_TEXTS}" for part in (*_SPLITS, "background")),
)
_MOST_NAMED = 3
_PUNCTUATION = re.compile("[^0-9A-Za-z]")

Codes = dict[str, list[str]]  # of each case, by its name


@dataclass(frozen=True)
class Imported:
    """What was written."""

    cases: dict[str, int]  # of each split
    diagnoses: int
    procedures: int
    background: int


def import_codiesp(folder: Path, out: Path) -> Imported:
    """Write out/codiesp and out/codiesp-background from the release in `folder`.

    Raises SourceError where it is not the release, ConfigError where `out` is in use.
    """
    names = "codiesp-background", "codiesp"
    check_free(out, *names)
    root = _root_of(folder)
    cases = _labelled(root)
    background = [
        Case(name, text, listed=(name,))
        for name, text in sorted(_texts(root, "background").items())
    ]
    with whole_folders(out, *names) as partial:
        listing = Listing("documents", "subject_id document")
        write_unlabelled(partial / "codiesp-background", background, listing)
        listing = Listing("splits.csv", "subject_id split document")
        rows = write_labelled(partial / "codiesp", cases, listing)
    by_split = Counter(case.listed[0] for case in cases)
    return Imported(
        cases={split: by_split[split] for split in _SPLITS.values()},
        diagnoses=rows["hosp/diagnoses_icd"],
        procedures=rows["hosp/procedures_icd"],
        background=len(background),
    )


def _root_of(folder: Path) -> Path:
    """The folder of train, dev, test and background: the one given, or one within it."""
    if folder.is_file():
        raise SourceError(f"{folder} is a file; {WHERE} and name the folder")
    if not folder.exists():
        raise SourceError(f"there is no folder {folder}; {WHERE}")
    within = sorted(path for path in folder.iterdir() if path.is_dir())
    lacking = {root: [n for n in _NEEDED if not _is_there(root / n)] for root in (folder, *within)}
    root = min(lacking, key=lambda root: len(lacking[root]))
    if missing := lacking[root]:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise SourceError(f"{root} lacks {', '.join(missing[:_MOST_NAMED])}{more}; {WHERE}")
    return root


def _is_there(path: Path) -> bool:
    return path.is_file() if path.suffix else any(path.glob("[!.]*.txt"))


def _labelled(root: Path) -> list[Case]:
    """The cases of the three splits, by name."""
    cases: dict[str, Case] = {}
    for part, split in _SPLITS.items():
        texts = _texts(root, part)
        diagnoses, procedures = (_codes(root, part, task, texts) for task in "DP")
        if twice := cases.keys() & texts.keys():
            raise SourceError(
                f"{root / part / _TEXTS} has cases of another split ({len(twice)}); {WHERE}"
            )
        for name, text in texts.items():
            codes = tuple(diagnoses.get(name, ())), tuple(procedures.get(name, ()))
            cases[name] = Case(name, f"{text}\n", (split, name), *codes)
    return [cases[name] for name in sorted(cases)]


def _texts(root: Path, part: str) -> dict[str, str]:
    files = (root / part / _TEXTS).glob("[!.]*.txt")  # macOS leaves ._NAME.txt beside a file
    return {path.stem: _text(path).strip() for path in files}


def _codes(root: Path, part: str, task: str, texts: dict[str, str]) -> Codes:
    """Each case's codes in the release's order, as MIMIC writes them: S2249XA for s22.49xa."""
    path = root / part / f"{part}{task}.tsv"
    codes: dict[str, dict[str, None]] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        name, _, code = (field.strip() for field in line.partition("\t"))
        code = _PUNCTUATION.sub("", code).upper()
        if not name or not code:
            raise SourceError(f"{path} has no case and code in line {number}; {WHERE}")
        codes.setdefault(name, {})[code] = None
    if unknown := codes.keys() - texts.keys():
        raise SourceError(f"{path} codes cases that have no text ({len(unknown)}); {WHERE}")
    return {name: list(listed) for name, listed in codes.items()}


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise SourceError(f"{path} is not UTF-8; {WHERE}") from None
