"""E3C, the European Clinical Case Corpus: its English documents under CC BY, to pretrain on.

The release is a checkout of the corpus, with a JSON file a document:

    data_collection/English/layer1/*.json   (layer2 and layer3 likewise)

Each file names its own licence. Those that forbid a commercial use or a change (CC BY-NC,
CC BY-ND) or bind what is made of them (CC BY-SA) are left out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import SourceError
from tasks.imports.mimic_iv import Case, Listing, write_unlabelled
from tasks.imports.output import check_free, whole_folders

WHERE = "take version 2.0.0 of https://github.com/hltfbk/E3C-Corpus and name its folder"

_ENGLISH = ("data_collection/English", "English", "*/data_collection/English", "*/English", ".")
_CC_BY = re.compile(r"CC[ -]BY([ -]\d\.\d)?", re.IGNORECASE)
_LISTED = ("licence", "source", "url")  # for attribution


@dataclass(frozen=True)
class Imported:
    """What was written."""

    documents: int
    left_out: int  # under another licence, or with the text of another document


def import_e3c(folder: Path, out: Path) -> Imported:
    """Write out/e3c from the release in `folder`.

    Raises SourceError where it is not the release, ConfigError where `out` is in use.
    """
    check_free(out, "e3c")
    documents = [_document(path) for path in _files(folder)]
    cases = _cases(documents)
    if not cases:
        raise SourceError(f"{folder} has no English document under CC BY; {WHERE}")
    with whole_folders(out, "e3c") as partial:
        listing = Listing("documents", f"subject_id document {' '.join(_LISTED)}")
        write_unlabelled(partial / "e3c", cases, listing)
    return Imported(len(cases), len(documents) - len(cases))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SourceError(f"there is no folder {folder}; {WHERE}")
    for pattern in _ENGLISH:
        roots = [folder] if pattern == "." else sorted(folder.glob(pattern))
        if files := sorted(path for root in roots for path in root.rglob("[!.]*.json")):
            return files
    raise SourceError(f"{folder} lacks data_collection/English/layer1/*.json; {WHERE}")


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError:  # neither JSON nor UTF-8; what it says may quote the text
        raise SourceError(f"{path} is not JSON; {WHERE}") from None
    needed = "id", "licence", "text"
    if not isinstance(document, dict) or not all(isinstance(document.get(n), str) for n in needed):
        raise SourceError(f"{path} lacks one of {', '.join(needed)}; {WHERE}")
    return document


def _cases(documents: list[dict[str, Any]]) -> list[Case]:
    """The documents to take, by name; of those with the same text, the first."""
    cases: dict[str, Case] = {}
    for document in sorted(documents, key=lambda document: document["id"]):
        name, text = document["id"], document["text"].strip()
        is_english = document.get("language", "en") == "en"
        if text and is_english and _CC_BY.fullmatch(document["licence"].strip()):
            listed = name, *(document.get(column) or "" for column in _LISTED)
            cases.setdefault(text, Case(name, text, listed))
    return list(cases.values())
