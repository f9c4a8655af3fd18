"""Score new notes with trained members, again and again: what was scored before is not anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from prefect import State, flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.check import check_hooks, check_machine
from flows.hooks import HOOKS
from flows.loading import as_yaml, load_score
from flows.stages import run_name
from tasks.errors import ConfigError
from tasks.flow_run import current_store, hashes_of_this_run
from tasks.guard import guarded
from tasks.ingest.config import EarlyView, RadiologyView
from tasks.ingest.source import open_source
from tasks.ingest.steps import read_notes
from tasks.ingest.views import NoteView
from tasks.keys import Artifact
from tasks.launch import launch
from tasks.progress import progress
from tasks.score.choose import chosen
from tasks.score.config import ScoreConfig
from tasks.score.drift import Drift, drifts
from tasks.score.job import ScoreJob
from tasks.score.ledger import Ledger
from tasks.score.member import ScoredMember, TextView
from tasks.score.pending import Pending
from tasks.score.steps import describe_training, list_arrivals
from tasks.store import Store
from tasks.store.folder import MAKING, SCORES

PROGRAM = "tasks.score.run"
_TABLES = ("admissions", "patients")


@dataclass(frozen=True)
class Scored:
    """What a run of the flow came to; it names no patient."""

    folder: Path  # with all that was ever scored
    admissions: int  # with a text, in the source
    new: int  # pairs of a text and an outcome of a model that were not scored before
    drifts: tuple[Drift, ...]

    @property
    def sentence(self) -> str:
        moved = [f"{drift.model}: {drift.what}" for drift in self.drifts if drift.moved]
        words = f"{self.new} new scores of outcomes; {self.admissions} admissions have a text"
        return f"{words}; DRIFT of {', '.join(moved)}" if moved else words


@flow(name="score", flow_run_name=run_name, persist_result=False, result_serializer="json", **HOOKS)
def score(
    preset: str = "configs/score-demo.yaml",
    overrides: tuple[str, ...] = (),
    source: str | None = None,
) -> Scored | State[Scored]:
    """Score the admissions of a source that models have not scored yet.

    Args:
        preset: A YAML file of a scoring, e.g. configs/score-demo.yaml.
        overrides: What differs from it, as key=value: members=[fused].
        source: The folder or file of the notes; empty: the preset's.
    """
    typed = () if source is None else (f"source={as_yaml(source)}",)
    config = load_score(Path(preset), [*overrides, *typed])
    check_machine(config.launch)
    check_hooks(config.hooks)
    store = current_store()
    members = guarded("score", lambda: _members(store, config))
    references = {
        member.key: describe_training(cohort=member.cohort, encoded=member.encoded)
        for member in members
    }
    admissions = new = 0
    for text_view, same in _by_text_view(members):
        arrivals = _arrivals(config, text_view)
        admissions += int(arrivals.counts["admissions"])
        if arrivals.counts["admissions"]:
            new += score_arrivals(config, same, arrivals, references)
    paths = {key: store.path(of.kind, of.key) for key, of in references.items()}
    found = guarded("score", lambda: drifts(store.root, members, paths, config.drift))
    return _told(config, Scored(store.root / SCORES, admissions, new, tuple(found)))


@task(
    name="score", persist_result=False, cache_policy=NO_CACHE, task_run_name="score {config.name}"
)
def score_arrivals(
    config: ScoreConfig,
    members: Sequence[ScoredMember],
    arrivals: Artifact,
    references: Mapping[str, Artifact],
) -> int:
    """Score what is new, by these members; how many outcomes of texts that was."""
    of_members = {member.key: references[member.key] for member in members}
    return guarded("score", lambda: _score(current_store(), config, members, arrivals, of_members))


def _score(
    store: Store,
    config: ScoreConfig,
    members: Sequence[ScoredMember],
    arrivals: Artifact,
    references: Mapping[str, Artifact],
) -> int:
    log, work = get_run_logger(), store.root / MAKING / f"{SCORES}-all"

    def waiting() -> None:
        log.info("another run is scoring; waiting for it")

    def path(artifact: Artifact) -> Path:
        return store.path(artifact.kind, artifact.key)

    job = ScoreJob(
        store=store.root,
        arrivals=path(arrivals),
        members=tuple(references),
        outcomes=config.outcomes,
        references={key: path(reference) for key, reference in references.items()},
        base=config.base,
    )
    held = {(each.kind, each.key): each for each in (arrivals, *references.values())}
    with (
        store.lock(SCORES, "all", waiting=waiting),
        store.reading(held.values(), hashes_of_this_run()),
        progress(f"score {config.name}", f"{config.name}-score"),
    ):
        if not Pending(Ledger(store.root), members, config.outcomes).any(job.arrivals):
            return 0  # torch is not imported for nothing
        launch(PROGRAM, job, work, config.launch)
        new: int = json.loads((work / "counts.json").read_text())["scored"]
        shutil.rmtree(work)
    log.info("%d new scores of outcomes by %d models", new, len(references))
    return new


def _members(store: Store, config: ScoreConfig) -> list[ScoredMember]:
    """The members that have an outcome that is wanted."""
    keys = chosen(store, config.run, config.members)
    members = [ScoredMember.read(store, key, base=config.base) for key in keys]
    names = {name for member in members for name in member.outcomes}
    if unknown := [name for name in config.outcomes if name not in names]:
        raise ConfigError(
            f"no member has an outcome '{unknown[0]}'; 'outcomes' takes {', '.join(sorted(names))}"
        )
    wanted = set(config.outcomes or names)
    return [member for member in members if wanted & member.outcomes.keys()]


def _by_text_view(
    members: Sequence[ScoredMember],
) -> Iterator[tuple[TextView, list[ScoredMember]]]:
    def key(member: ScoredMember) -> str:
        return member.text_view.model_dump_json()

    for _, same in groupby(sorted(members, key=key), key=key):
        together = list(same)
        yield together[0].text_view, together


def _arrivals(config: ScoreConfig, text_view: TextView) -> Artifact:
    """The texts of the source's admissions."""
    files, table = open_source(config.source, config.note_source, "source"), _table(text_view)
    timed = {"charttime"} if isinstance(text_view.view, RadiologyView | EarlyView) else set()
    files.check([table, *_TABLES], [], {table: timed})
    reading = files.reading(config.max_reject_share)
    notes = read_notes(table=table, file=files.path(table), reading=reading)
    return list_arrivals(
        notes=notes, sources=files.paths(*_TABLES), text_view=text_view, reading=reading
    )


def _table(text_view: TextView) -> str:
    return NoteView(text_view.view).table


def _told(config: ScoreConfig, scored: Scored) -> Scored | State[Scored]:
    """Leave the table of drifts on the run; a run with drift ends in a state of that name."""
    log = get_run_logger()
    create_table_artifact(
        table=[drift.row for drift in scored.drifts],
        key=f"{config.name}-drift",
        description=f"What was scored in the last {config.drift.days} days, beside training "
        "(inputs) and validation (probabilities). PSI: population stability index; DRIFT: it is "
        "above the bound, and above what chance explains.",
    )
    moved = [drift for drift in scored.drifts if drift.moved]
    for drift in moved:
        words = "drift of %s, %s: PSI %.3f is above %g"
        log.warning(words, drift.model, drift.what, drift.stability.psi, drift.bound)
    if moved:
        return Completed(name="Drifted", message=scored.sentence, data=scored)
    return scored
