"""The defaults that each step's version stands for, in `tests/pins.json`.

    python -m tests.pins    # write down what is new; refuses a changed default of an old version

A key leaves out what has its default (`tasks/keys.py`), so an artifact made under another default
would be taken for one of this. A default is named by the step and by where it stands in the
arguments, e.g. `config.base[scratch].layers`: models may be renamed and moved.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from tasks.config import Unkeyed
from tasks.keys import is_tag
from tasks.step import Step

PINS = Path(__file__).with_name("pins.json")
STAGES = ("ingest", "pretrain", "finetune", "baselines", "evaluate", "report", "audit", "score")

Pins = dict[str, dict[str, Any]]  # step -> its version, and its defaults


def current() -> Pins:
    """The steps of all stages as they are now."""
    found: Pins = {}
    for stage in STAGES:
        for each in vars(importlib.import_module(f"tasks.{stage}.steps")).values():
            if isinstance(each, Step) and each.stage == stage:
                defaults = dict(sorted(_of_step(each)))
                name = f"{stage}.{each.function.__name__}"
                found[name] = {"version": each.version, "defaults": defaults}
    return dict(sorted(found.items()))


def changed(pinned: Pins, now: Pins) -> list[str]:
    """A sentence for each default that another artifact of the same version was made under."""
    return [
        f"{step}: the default of {name} was {then!r} and is {now[step]['defaults'][name]!r} under "
        f"version {pin['version']}; raise the step's version"
        for step, pin in pinned.items()
        if step in now and now[step]["version"] == pin["version"]
        for name, then in pin["defaults"].items()
        if name in now[step]["defaults"]
        and _differs(name, then, now[step]["defaults"][name], now[step]["defaults"])
    ]


def read() -> Pins:
    """What was written down."""
    return json.loads(PINS.read_text())


def _differs(name: str, then: Any, now: Any, defaults: dict[str, Any]) -> bool:
    """Whether a default changed, by more than a new field that has its own default in it."""
    match then, now:
        case dict(), dict():
            here = f"{name}[{now['kind']}]" if "kind" in now else name
            expected = {field: defaults.get(f"{here}.{field}") for field in now} | then
            return expected.keys() != now.keys() or any(
                _differs(f"{here}.{field}", expected[field], now[field], defaults) for field in now
            )
        case list(), list():
            return len(then) != len(now) or any(
                _differs(name, *pair, defaults) for pair in zip(then, now, strict=True)
            )
    return bool(then != now)


def _of_step(step: Step) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(step.function, include_extras=True)
    for name in inspect.signature(step.function).parameters:
        if name in step.defaults:
            yield name, to_jsonable_python(step.defaults[name])
        yield from _of_type(hints[name], name)


def _of_type(annotation: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The defaults of every model that may stand there, with where they stand."""
    if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
        for part in get_args(annotation):
            yield from _of_type(part, place)
        return
    if issubclass(annotation, Unkeyed):
        return
    fields = annotation.model_fields
    tags = [str(get_args(field.annotation)[0]) for field in fields.values() if is_tag(field)]
    here = f"{place}[{','.join(tags)}]" if tags else place
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True)
        if default is not PydanticUndefined and not is_tag(field):
            yield f"{here}.{name}", to_jsonable_python(default, fallback=str)
        yield from _of_type(field.annotation, f"{here}.{name}")


def main() -> None:
    """Write the pins anew, unless that would hide a change."""
    now = current()
    if wrong := changed(read() if PINS.exists() else {}, now):
        sys.exit("\n".join(wrong))
    PINS.write_text(json.dumps(now, indent=1) + "\n")


if __name__ == "__main__":
    main()
