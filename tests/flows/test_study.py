"""The trials of a search on disk: what is asked next, after whatever ended the process before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from flows.config import SearchConfig
from flows.loading import load_search, load_trial
from flows.space import check_search, grid
from flows.study import JOURNAL, Study
from tasks.errors import ConfigError
from tasks.store import Store
from tests.flows.conftest import ROOT

SPACE = {
    "finetune.adapter.rank": [2, 4, 8, 16],
    "finetune.training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "finetune.adapter.targets": [["q_proj", "v_proj"], "all-linear"],
}


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A search's folder of made-up tables, so that its key can be had without reading any."""
    (tmp_path / "source").mkdir()
    (tmp_path / "general.txt").write_text("words")
    return tmp_path


def searched(folder: Path, **keys: Any) -> SearchConfig:
    return load_search(written(folder, **keys))


def written(folder: Path, **keys: Any) -> Path:
    given = yaml.safe_load((ROOT / "tests" / "flows" / "tiny.yaml").read_text())
    given["ingest"]["source"] = str(folder / "source")
    given["pretrain"]["base"]["corpus"] = str(folder / "general.txt")
    del given["evaluate"]["truth"]
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(given | {"name": "a-search", "space": SPACE} | keys))
    return path


def asked(study: Study, count: int) -> list[dict[str, Any]]:
    """What the next trials try; each ends with a value that follows from it."""
    tried = []
    for _ in range(count):
        trial = study.ask()
        assert trial
        tried.append(dict(trial.params))
        study.tell(trial, trial.params["finetune.training.learning_rate"], ())
    return tried


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_goes_on_as_if_it_had_not_been_interrupted(
    source: Path, tmp_path: Path, sampler: str
) -> None:
    """Also after TPE's first ten, which it draws at random."""
    config = searched(source, trials=14, sampler=sampler)
    with Study.opened(Store(tmp_path / "one"), config) as study:
        whole = asked(study, 14)
        assert study.ask() is None
    pieces = []
    for count in (1, 11, 2):
        with Study.opened(Store(tmp_path / "other"), config) as study:
            pieces += asked(study, count)
    assert pieces == whole
    assert len({str(tried) for tried in whole}) == 14  # and none begins with the same draws


def test_a_trial_that_was_cut_short_is_tried_again_and_those_that_ended_are_not(
    source: Path, store: Store
) -> None:
    config = searched(source, trials=3)
    with Study.opened(store, config) as study:
        asked(study, 1)
        cut_short = study.ask()
        assert cut_short
    with Study.opened(store, config) as study:
        again = study.ask()
        assert again
        assert (again.number, again.params) == (1, cut_short.params)
        study.fail(again, "it collapsed")
        last = study.ask()
        assert last
        assert last.number == 2
        study.tell(last, 0.9, ())
        assert study.ask() is None
    with Study.opened(store, searched(source, trials=4)) as study:  # more of them: it goes on
        assert [trial.number for trial in study.ended] == [2, 0, 1]  # the best first
        assert study.ended[-1].user_attrs["reason"] == "it collapsed"
        more = study.ask()
        assert more
        assert more.number == 3


def test_a_grid_tries_each_combination_once(source: Path, store: Store) -> None:
    space = {
        "finetune.adapter.rank": {"low": 2, "high": 6, "step": 2},
        "finetune.training.learning_rate": {"low": 0.001, "high": 0.002, "step": 0.0005},
        "finetune.adapter.targets": SPACE["finetune.adapter.targets"],
    }
    config = searched(source, trials=100, sampler="grid", space=space)
    assert len(grid(config)) == 18
    tried = []
    with Study.opened(store, config) as study:
        tried += asked(study, 7)
        study.ask()  # and is killed
    with Study.opened(store, config) as study:
        tried += asked(study, 11)
        assert study.ask() is None
        overrides = {study.overrides(trial) for trial in study.ended}
    assert len({str(each) for each in tried}) == 18 == len(overrides)
    assert all(
        load_trial(source / "search.yaml", each).finetune.adapter.targets  # type: ignore[union-attr]
        in (("q_proj", "v_proj"), "all-linear")
        for each in overrides
    )


def test_half_a_line_and_a_dead_process_lock_do_no_harm(source: Path, store: Store) -> None:
    config = searched(source, trials=3)
    with Study.opened(store, config) as study:
        asked(study, 1)
        journal = study.folder / JOURNAL
    with journal.open("a") as file:
        file.write('{"op_code": 4, "work')
    journal.with_name(f"{JOURNAL}.lock").symlink_to(journal)
    with Study.opened(store, config) as study:
        assert len(asked(study, 2)) == 2
        assert len(study.ended) == 3


def test_another_space_or_another_run_is_another_search(source: Path, store: Store) -> None:
    folders = set()
    for keys in (
        {},
        {"seed": 1},
        {"space": {"finetune.epochs": [1, 2]}},
        {"member": "unfused"},
        {"finetune": {"epochs": 2}},
        {"trials": 7},  # is the first one going on
        {"launch": {"ranks": 2}},  # so is this
    ):
        with Study.opened(store, searched(source, **keys)) as study:
            folders.add(study.folder)
    assert len(folders) == 5
    assert store.folders() == []  # none of them is an artifact
    assert all(oct(folder.stat().st_mode)[-3:] == "700" for folder in folders)


def test_a_training_below_the_median_of_those_before_is_pruned(source: Path, store: Store) -> None:
    config = searched(source, trials=8)
    with Study.opened(store, config) as study:
        for value in (0.6, 0.7, 0.8, 0.9, 0.95):
            trial = study.ask()
            assert trial
            assert not trial.should_prune()
            study.tell(trial, value, [(50, value - 0.1), (100, value)])
        worse = study.ask()
        assert worse
        worse.report(0.65, 50)
        assert worse.should_prune()  # the median at 50% is .7
        study.prune(worse)
        better = study.ask()
        assert better
        better.report(0.75, 50)
        assert not better.should_prune()
        [pruned] = [trial for trial in study.ended if trial.state == TrialState.PRUNED]
        assert pruned.value == 0.65
        assert study.best
        assert study.best.value == 0.95
    with Study.opened(store, searched(source, trials=8, pruner="none")) as study:
        for value in (0.9, 0.9, 0.9, 0.9, 0.9):
            trial = study.ask()
            assert trial
            study.tell(trial, value, [(50, value)])
        trial = study.ask()
        assert trial
        trial.report(0.5, 50)
        assert not trial.should_prune()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"space": {"finetune.adapter.rnak": [2]}}, r"no key 'finetune\.adapter.*\.rnak'"),
        ({"space": {"finetune.epochs": [1, "many"]}}, r"finetune\.epochs=many: .*valid integer"),
        ({"space": {"finetune.epochs": []}}, r"'finetune\.epochs' needs a list of values"),
        ({"space": {"finetune.epochs": [1, 1]}}, r"'finetune\.epochs' needs .* named once"),
        ({"space": {"finetune.epochs": {"low": 3, "high": 2}}}, r"low must be below high"),
        ({"space": {"finetune.epochs": {"low": 0, "high": 2}}}, r"finetune\.epochs=0: .*greater"),
        ({"sampler": "grid"}, r"a grid needs a step for 'finetune\.training\.learning_rate'"),
        ({"member": "fusde"}, r"there is no member 'fusde'; members: fused, unfused"),
        ({"samplr": "tpe"}, r"no key 'samplr'; did you mean 'sampler'"),
    ],
)
def test_what_is_wrong_with_a_space_is_said_in_one_line(
    source: Path, keys: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.space.check", lambda *_, **__: None)  # of files: test_check
    with pytest.raises(ConfigError, match=told) as caught:
        check_search(written(source, **keys))
    assert "\n" not in str(caught.value)
