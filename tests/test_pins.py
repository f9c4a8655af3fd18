"""A key leaves out defaults: a changed default without a new version would pass for the old one."""

from __future__ import annotations

import copy

import pytest

from tests import pins


def test_no_default_changed_under_its_version() -> None:
    assert pins.changed(pins.read(), pins.current()) == []


def test_every_default_is_pinned() -> None:
    """Else a later change of it would not be seen: `python -m tests.pins` writes new ones down."""
    assert pins.read() == pins.current()


def test_a_changed_default_is_red_until_its_step_has_a_new_version() -> None:
    now = pins.current()
    for step, name in (
        ("finetune.train_member", "job.config.adapter[lora].rank"),
        ("ingest.build_outcome", "config[diagnoses].min_count"),
        ("pretrain.train_adapter", "job.training.learning_rate"),
    ):
        then = copy.deepcopy(now)
        then[step]["defaults"][name] = "another"
        [sentence] = pins.changed(then, now)
        assert f"{step}: the default of {name} was 'another'" in sentence
        then[step]["version"] -= 1
        assert pins.changed(then, now) == []


def test_a_new_default_is_no_change() -> None:
    now = pins.current()
    then = copy.deepcopy(now)
    del then["finetune.train_member"]["defaults"]["job.config.adapter[lora].rank"]
    del then["audit.audit_leaks"]
    assert pins.changed(then, now) == []


def test_a_new_field_of_a_default_is_a_change_only_where_it_has_not_its_own_default() -> None:
    """A key leaves out a value that equals the default, whatever fields both have."""
    now = pins.current()
    then = copy.deepcopy(now)
    del then["finetune.train_member"]["defaults"]["job.config.training"]["clip"]
    assert pins.changed(then, now) == []
    now["finetune.train_member"]["defaults"]["job.config.training"]["clip"] = 2.0
    [sentence] = pins.changed(then, now)
    assert "the default of job.config.training was" in sentence


def test_how_a_step_runs_is_not_pinned() -> None:
    names = [name for step in pins.current().values() for name in step["defaults"]]
    assert not any(name.startswith("launch") for name in names)


def test_writing_pins_hides_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    then = copy.deepcopy(pins.current())
    then["finetune.train_member"]["defaults"]["job.config.adapter[lora].rank"] = 1234
    monkeypatch.setattr(pins, "read", lambda: then)
    before = pins.PINS.read_bytes()
    with pytest.raises(SystemExit, match=r"raise the step's version"):
        pins.main()
    assert pins.PINS.read_bytes() == before
