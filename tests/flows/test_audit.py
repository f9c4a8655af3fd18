"""The leak audit on generated patients: with leaks, without them, and with labels permuted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.stages import audit, ingest
from tasks import schemas, tables
from tasks.audit.config import LeaksConfig
from tasks.audit.leaks import TOGETHER
from tasks.audit.leaks import audit as audit_sections
from tasks.audit.section_texts import (
    LabelSpace,
    SectionTexts,
    read_label_spaces,
    read_section_texts,
)
from tasks.errors import StoreError
from tasks.store import Store
from tasks.synth.synthesize import synthesize
from tests.flows.conftest import TINY

PATIENTS, PERMUTATIONS = 2500, 6
CONFIG = LeaksConfig()
# what the generator writes of each outcome after the admission sections
GIVEN_AWAY = {
    "diagnoses": {"HOSPITAL COURSE", "DISCHARGE DIAGNOSIS", "DISCHARGE MEDICATIONS"},
    "procedures": {"HOSPITAL COURSE", "PROCEDURE", "DISCHARGE DIAGNOSIS"},
    "mortality": {
        "HOSPITAL COURSE",
        "DISCHARGE CONDITION",
        "DISCHARGE DISPOSITION",
        "DISCHARGE EXAM",
        "DISCHARGE INSTRUCTIONS",
        "DISCHARGE MEDICATIONS",
    },
}
# drugs tell of some procedures; how many patients it takes to see that is not certain
WEAKLY = {"procedures": {"DISCHARGE MEDICATIONS"}}


@dataclass(frozen=True)
class Source:
    """An audited source: the rows of leaks, the page, and what the audit read."""

    leaks: list[dict[str, Any]]
    page: str
    notes: SectionTexts
    spaces: list[LabelSpace]

    def flagged(self) -> dict[str, set[str]]:
        """The flagged sections by outcome."""
        found: dict[str, set[str]] = {row["outcome"]: set() for row in self.leaks}
        for row in self.leaks:
            found[row["outcome"]].update([row["section"]] * row["flagged"])
        return found


def made(folder: Path, *, leaks: bool) -> Source:
    """Generate a source, ingest and audit it as the command would."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    written = synthesize(folder, patients=PATIENTS, seed=5, leaks=leaks)
    outcomes = ", ".join(f"{{kind: {outcome}}}" for outcome in GIVEN_AWAY)
    given = [f"ingest.source={written.source}", f"ingest.outcomes=[{outcomes}]"]
    given.append("ingest.include_radiology=no")
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: str(folder / "store")}):
        audit(preset=str(TINY), overrides=given)
    store = Store(folder / "store")
    place = {each.kind: store.path(each.kind, each.key) for each in store.manifests()}
    notes = read_section_texts(place["sections"], place["cohort"], CONFIG.most_admissions)
    spaces = [
        space
        for each in store.manifests()
        if each.kind == "outcome"
        for space in read_label_spaces(
            each.config["outcome"], store.path(each.kind, each.key), notes, CONFIG
        )
    ]
    rows = tables.read(place["leaks"] / "leaks", schemas.LEAKS).to_pylist()
    return Source(rows, (place["leaks"] / "leaks.md").read_text(), notes, spaces)


@pytest.fixture(scope="module")
def leaking(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return made(tmp_path_factory.mktemp("leaking"), leaks=True)


def test_what_gives_an_outcome_away_is_flagged_and_nothing_else(leaking: Source) -> None:
    flagged = leaking.flagged()
    assert set(flagged) == set(GIVEN_AWAY)
    for outcome, sections in GIVEN_AWAY.items():
        assert flagged[outcome] >= sections, outcome
        assert flagged[outcome] <= sections | WEAKLY.get(outcome, set()), outcome
    assert "`expired` (died +" in leaking.page


def test_it_makes_its_own_artifacts_and_no_earlier_ones_where_it_may_not(
    prefect_store: Store, tmp_path: Path
) -> None:
    written = synthesize(tmp_path / "synth", patients=300, seed=5)
    given = [f"ingest.source={written.source}", "ingest.outcomes=[{kind: mortality}]"]
    with pytest.raises(StoreError, match=r"notes/\w+ is missing and make_missing is false"):
        audit(preset=str(TINY), overrides=given, make_missing=False)
    ingest(preset=str(TINY), overrides=given)
    audit(preset=str(TINY), overrides=given, make_missing=False)
    assert {each.kind for each in prefect_store.manifests()} >= {"sections", "leaks"}


def test_without_leaks_nothing_is_flagged(prefect_server: None, tmp_path: Path) -> None:
    quiet = made(tmp_path, leaks=False)
    assert quiet.flagged() == {outcome: set() for outcome in GIVEN_AWAY}
    later = [row["auroc"] for row in quiet.leaks if not row["at_admission"]]
    for row in quiet.leaks:
        if row["section"] == TOGETHER and row["outcome"] == "diagnoses":
            assert row["auroc"] > 0.65, "what was known at admission is still told"
            assert row["low"] > 0.6
    assert np.mean(later) == pytest.approx(0.5, abs=0.01)


def test_with_labels_permuted_over_patients_everything_is_one_half(leaking: Source) -> None:
    """The intervals hold 0.5 as often as they say, and the audit flags nothing."""
    random = np.random.default_rng(0)
    aurocs, held = [], []
    for _ in range(PERMUTATIONS):
        spaces = [permuted(leaking.notes, space, random) for space in leaking.spaces]
        rows = audit_sections(leaking.notes, spaces, CONFIG).sections
        assert [row["section"] for row in rows if row["flagged"]] == []
        aurocs += [row["auroc"] for row in rows]
        held += [row["low"] <= 0.5 <= row["high"] for row in rows]
    assert len(held) > 300
    assert np.mean(aurocs) == pytest.approx(0.5, abs=0.01)
    assert np.mean(held) > 0.9


def permuted(notes: SectionTexts, space: LabelSpace, random: np.random.Generator) -> LabelSpace:
    """Give each patient the labels of another of the same split with as many admissions."""
    cases, alike = space.cases.copy(), defaultdict(list)
    owner = notes.patients[space.rows]
    for rows in np.split(np.arange(len(owner)), np.flatnonzero(np.diff(owner)) + 1):
        alike[len(rows), bool(notes.train[space.rows[rows[0]]])].append(rows)
    for patients in alike.values():
        for mine, theirs in zip(patients, random.permutation(len(patients)), strict=True):
            cases[mine] = space.cases[patients[theirs]]
    return replace(space, cases=cases)
