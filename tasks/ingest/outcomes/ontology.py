"""The ontology: ICD's categories and codes with their titles, whatever any admission has.

Titles come from ICD itself, and so which codes there are says nothing of any patient: a release's
own tables of titles may list only the codes that its admissions have. ICD-9's procedures alone,
which do not come with the program, are taken from there; MIMIC's list them all.
"""

from __future__ import annotations

import csv
import gzip
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.outcomes.codes import SYSTEMS, Kind, category, clean
from tasks.ingest.outcomes.config import DiagnosesConfig, OutcomeConfig, ProceduresConfig
from tasks.ingest.outcomes.titles import category_title, icd_titles
from tasks.schemas import ONTOLOGY

FROM_THE_RELEASE = "icd9pcs"  # the system whose titles do not come with the program
# the first category of each chapter of ICD-9-CM but the first, diagnoses and procedures
_DIAGNOSES_9 = (
    *("140", "240", "280", "290", "320", "390", "460", "520", "580", "630", "680", "710"),
    *("740", "760", "780", "800", "E", "V"),
)
_PROCEDURES_9 = (
    *("01", "06", "08", "17", "18", "21", "30", "35", "40", "42", "55", "60", "65", "72", "76"),
    *("85", "87"),
)


def systems_of(
    outcomes: Sequence[OutcomeConfig], counts: Mapping[str, Mapping[str, int | float | str]]
) -> tuple[str, ...]:
    """The code systems of the outcomes that are codes.

    Args:
        counts: of each outcome, by its name. Where both versions may be, it is one in which
            admissions are coded.
    """
    systems: dict[str, None] = {}
    for outcome in outcomes:
        if not isinstance(outcome, DiagnosesConfig | ProceduresConfig):
            continue
        for version, system in SYSTEMS[outcome.kind].items():
            wanted = "10" if outcome.icd_versions == "mapped" else outcome.icd_versions
            if wanted in ("both", str(version)) and counts[outcome.name][f"observed_icd{version}"]:
                systems[system] = None
    return tuple(systems)


def ontology(systems: Sequence[str], procedure_titles: pa.Table | None) -> pa.Table:
    """The table of schemas.ONTOLOGY: all codes with a title whose category has one, too.

    Args:
        procedure_titles: the release's own, of which ICD-9's are taken.
    """
    rows = []
    for system in systems:
        kind: Kind = "diagnoses" if system in SYSTEMS["diagnoses"].values() else "procedures"
        version = next(number for number, name in SYSTEMS[kind].items() if name == system)
        titles = _of_table(procedure_titles) if system == FROM_THE_RELEASE else icd_codes()[system]
        codes = pa.chunked_array([pa.array(sorted(titles), pa.string())])
        versions = pa.chunked_array([pa.array([version] * len(codes))])
        groups = category(codes, versions, kind).to_pylist()
        under: dict[str, list[str]] = {}
        for code, group in zip(codes.to_pylist(), groups, strict=True):
            under.setdefault(group, []).append(code)
        own = {code: title for (of, code), title in icd_titles(kind).items() if of == version}
        if system == FROM_THE_RELEASE:
            own = {
                group: category_title([titles[code] for code in below]).removeprefix("including ")
                for group, below in under.items()
            }
        rows += [
            {
                "system": system,
                "chapter": chapter(system, group),
                "category": group,
                "category_title": own[group],
                "code": code,
                "title": titles[code],
            }
            for group, below in under.items()
            if group in own
            for code in below
        ]
    return pa.Table.from_pylist(rows, ONTOLOGY)


def chapter(system: str, group: str) -> str:
    """The chapter of a category, by which near categories are told from far ones.

    ICD-10-CM: the letter; ICD-10-PCS: section and body system; ICD-9: the first category of the
    chapter.

    >>> chapter("icd10cm", "I21"), chapter("icd10pcs", "02HV"), chapter("icd9cm", "410")
    ('I', '02', '390')
    >>> chapter("icd9cm", "V45"), chapter("icd9cm", "E849"), chapter("icd9pcs", "361")
    ('V', 'E', '35')
    """
    match system:
        case "icd10cm":
            return group[:1]
        case "icd10pcs":
            return group[:2]
    starts = _DIAGNOSES_9 if system == "icd9cm" else _PROCEDURES_9
    index = bisect_right(starts, group)
    return starts[index - 1] if index else "0"


@cache
def icd_codes() -> dict[str, dict[str, str]]:
    """The titles of ICD's codes, by system and code; `infra/icd_codes.py` wrote them."""
    titles: dict[str, dict[str, str]] = {}
    for system, code, title in _shipped():
        titles.setdefault(system, {})[code] = title
    return titles


def _shipped() -> Iterator[tuple[str, str, str]]:
    path = Path(__file__).with_name("icd_codes.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["system"], row["code"], row["title"]


def _of_table(table: pa.Table | None) -> dict[str, str]:
    """The titles of ICD-9's codes in a release's table; none without a table."""
    if table is None:
        return {}
    table = table.filter(
        pc.and_(
            pc.equal(table["icd_version"], 9),
            pc.not_equal(pc.coalesce(table["long_title"], pa.scalar("")), ""),
        )
    )
    codes = clean(table["icd_code"]).to_pylist()
    return dict(zip(codes, table["long_title"].to_pylist(), strict=True))
