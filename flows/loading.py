"""From a YAML file, presets and `key=value` overrides to a checked configuration."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from flows.config import AdaptConfig, CompareConfig, SearchConfig
from tasks.errors import ConfigError
from tasks.score.config import ScoreConfig

PRESET = "preset"  # the key that names a YAML file which gives every value not given beside it
_TRAINING = (
    *("learning_rate", "schedule", "warmup_share", "weight_decay", "clip", "batch_size"),
    *("micro_batch_size", "seed", "precision", "checkpoint_every_steps", "deepspeed"),
)
MOVED = {  # former key -> what it is now
    "baselines.tfidf.longest_ngram": "baselines.tfidf.longest_ngrams",
    "evaluate.published": "report.published",
    "finetune.arms": "finetune.members",
    "finetune.clinical": "finetune.members.0.summands.0.fusion",
    "finetune.lora": "finetune.adapter",
    "finetune.positive_weight": "finetune.class_weight",
    "finetune.tfidf": "baselines.tfidf",
    "pretrain.lora": "pretrain.adapter",
    "pretrain.gradient_checkpointing": "pretrain.training.gradient_checkpointing",
    **{f"finetune.{name}": f"finetune.training.{name}" for name in _TRAINING},
}
OF_SEARCH = SearchConfig.model_fields.keys() - AdaptConfig.model_fields.keys()
_Model = TypeVar("_Model", bound=BaseModel)


def load_config(path: Path, overrides: Sequence[str] = ()) -> AdaptConfig:
    """Read a YAML file, apply `key.subkey=value` overrides, and check every key.

    Raises ConfigError: one line that names the key, what was given and what is allowed.
    """
    given = _read(path)
    for override in overrides:
        given = _overridden(given, override, AdaptConfig)
    return _checked(AdaptConfig, path, given)


def load_compare(path: Path, overrides: Sequence[str] = ()) -> CompareConfig:
    """Read a comparison's YAML file as `load_config` reads a run's.

    An override of a run's key (`finetune.epochs=1`) holds for every run.
    """
    given = _read(path)
    for override in overrides:
        key, runs = _key_of(override)[0], given.get("runs")
        if key in CompareConfig.model_fields or not isinstance(runs, list):
            given = _overridden(given, override, CompareConfig)
        else:
            given = given | {"runs": [_overridden(run, override, AdaptConfig) for run in runs]}
    return _checked(CompareConfig, path, given)


def load_search(path: Path, overrides: Sequence[str] = ()) -> SearchConfig:
    """Read a search's YAML file as `load_config` reads a run's."""
    return _checked(SearchConfig, path, _of_search(path, overrides))


def load_score(path: Path, overrides: Sequence[str] = ()) -> ScoreConfig:
    """Read a scoring's YAML file as `load_config` reads a run's."""
    given = _read(path)
    for override in overrides:
        given = _overridden(given, override, ScoreConfig)
    return _checked(ScoreConfig, path, given)


def flow_of(path: Path) -> Literal["adapt", "compare", "search", "score"]:
    """The flow that a YAML file is for: it has runs, a space, or a source, or is one run."""
    given = _read(path)
    marks: dict[str, Literal["compare", "search", "score"]] = {
        "runs": "compare",
        "space": "search",
        "source": "score",
    }
    return next((flow for key, flow in marks.items() if key in given), "adapt")


def load_trial(path: Path, overrides: Sequence[str] = ()) -> AdaptConfig:
    """The run of a search's YAML file, with these overrides; raises as `load_config` does."""
    return _checked(AdaptConfig, path, keys_of_trial(path, overrides))


def keys_of_trial(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The keys that a trial's run is given by file, presets and overrides."""
    given = _of_search(path, overrides)
    return {key: value for key, value in given.items() if key not in OF_SEARCH}


def as_yaml(value: object) -> str:
    """The value in one line, as `--set` takes it.

    >>> as_yaml(1e-5), as_yaml(["q_proj", "v_proj"])
    ('1.0e-05', '[q_proj, v_proj]')
    """
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another; where both hold mappings, key by key.

    >>> merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}})
    {'a': {'x': 1, 'y': 5}, 'b': 3}

    A mapping of another kind replaces what was there, whose keys it does not have; a kind alone
    stands for a mapping of that kind:

    >>> merge({"base": {"kind": "scratch", "layers": 2}}, {"base": {"kind": "path", "path": "m"}})
    {'base': {'kind': 'path', 'path': 'm'}}
    >>> merge({"view": {"kind": "admission"}}, {"view": "full"})
    {'view': {'kind': 'full'}}

    A path alone, which has a slash, stands for the path of what has one:

    >>> merge({"source": {"kind": "table", "path": "a.csv"}}, {"source": "data/b.csv"})
    {'source': {'kind': 'table', 'path': 'data/b.csv'}}

    A mapping over a list changes the entries that its keys number:

    >>> merge({"outcomes": [{"kind": "mortality"}, {"days": 30}]}, {"outcomes": {"1": {"days": 7}}})
    {'outcomes': [{'kind': 'mortality'}, {'days': 7}]}
    """
    if above.get("kind", below.get("kind")) != below.get("kind"):
        return dict(above)
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _laid_over(merged.get(key), value)
    return merged


def _of_search(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    given = _read(path)
    for override in overrides:
        given = _overridden(given, override, SearchConfig)
    return given


def _laid_over(below: Any, above: Any) -> Any:
    match below, above:
        case dict(), dict():
            return merge(below, above)
        case {"kind": _, "path": _}, str() if "/" in above:
            return merge(below, {"path": above})
        case {"kind": _}, str():
            return merge(below, {"kind": above})
        case list(), dict() if above and all(str(key).isdecimal() for key in above):
            items = list(below)
            for key, value in above.items():
                if int(key) >= len(items):
                    raise ConfigError(
                        f"there is no entry {key} in a list of {len(items)}; count from 0"
                    )
                items[int(key)] = _laid_over(items[int(key)], value)
            return items
        case _:
            return above


def _read(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a YAML file, its preset's under its own.

    Args:
        below: the files that named this one as their preset.
    """
    if path.resolve() in below:
        raise ConfigError(f"{path} is a preset of itself; name another file in its key '{PRESET}'")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); correct the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path} is not YAML{line}; check indentation and quotes") from None
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise ConfigError(f"{path} holds no keys; see configs/demo.yaml for what is expected")
    return _on_its_preset(given, path, (*below, path.resolve()))


def _on_its_preset(
    given: dict[str, Any], path: Path, below: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """The mapping laid over what its key `preset` names; so is each run of a comparison."""
    keys = {key: value for key, value in given.items() if key != PRESET}
    if isinstance(runs := keys.get("runs"), list):
        keys["runs"] = [
            _on_its_preset(run, path, below) if isinstance(run, dict) else run for run in runs
        ]
    match given.get(PRESET):
        case None:
            return keys
        case str(preset):
            return merge(_read(Path(preset), below), keys)
        case _:
            raise ConfigError(f"{path}: '{PRESET}' must be the path of a YAML file")


def _key_of(override: str) -> list[str]:
    key, equals, _ = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {override}: write it as key=value, e.g. finetune.epochs=3")
    return parts


def _overridden(given: Any, override: str, model: type[BaseModel]) -> dict[str, Any]:
    """The mapping with one `key.subkey=value` laid over it."""
    keys = _key_of(override)
    if "hooks" in keys:
        raise ConfigError(
            f"--set {override}: commands are read from a file alone, so that a run form cannot "
            "name a program; put 'hooks' there"
        )
    try:
        value = yaml.safe_load(override.partition("=")[2])
    except (yaml.YAMLError, RecursionError, ValueError):
        raise ConfigError(
            f"--set {override}: the value is not YAML; quote it, or close its brackets"
        ) from None
    nested: Any = value
    for key in reversed(keys):
        nested = {key: nested}
    below = given if isinstance(given, dict) else {}
    try:
        return merge(_with_default_list(below, keys, model), nested)
    except ConfigError as error:
        raise ConfigError(f"--set {override}: {error}") from None


def _with_default_list(
    given: dict[str, Any], keys: list[str], model: type[BaseModel]
) -> dict[str, Any]:
    """The mapping in which a list that the keys number an entry of is there, by default if need be.

    `ingest.outcomes.0.min_count` names an entry of a list that the file may not give.
    """
    first, *rest = keys
    field = model.model_fields.get(first)
    if field is None or not rest:
        return given
    if rest[0].isdecimal() and first not in given:
        default = field.get_default(call_default_factory=True)
        if isinstance(default, tuple):
            return given | {first: to_jsonable_python(default)}
        return given
    below = given.get(first, {})
    for inner in _models_in(field.annotation):
        if isinstance(below, dict) and rest[0] in inner.model_fields:
            return given | {first: _with_default_list(below, rest, inner)}
    return given


def _checked(model: type[_Model], path: Path, given: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(_on_its_preset(given, path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error.errors()[0], model)}") from None


def _explain(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One sentence: the key, what was given, what is allowed, and the nearest right name."""
    path = [part for part in error["loc"] if not str(part).startswith("function-")]
    key = ".".join(str(part) for part in path)
    match error["type"]:
        case "extra_forbidden" if new := MOVED.get(re.sub(r"^runs\.\d+\.", "", key)):
            return f"the key '{key}' is now '{new}'; rename it"
        case "extra_forbidden":
            known = sorted(_keys_beside(path, model))
            near = difflib.get_close_matches(str(path[-1]), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            return f"there is no key '{key}'; {hint}"
        case "missing":
            return f"the key '{key}' is missing; add it"
        case _:
            message = error["msg"][:1].lower() + error["msg"][1:]
            given = error.get("input")
            shown = f", not {given!r}" if isinstance(given, str | int | float | bool) else ""
            return f"'{key}': {message}{shown}"


def _keys_beside(path: list[Any], model: type[BaseModel]) -> set[str]:
    """The keys of every model that could stand where the unknown key was given."""
    models: list[Any] = [model]
    for part in path[:-1]:
        inner = [
            model
            for parent in models
            if isinstance(part, str) and part in parent.model_fields
            for model in _models_in(parent.model_fields[part].annotation)
        ]
        models = inner or models  # an index, or the tag of a union, stays at the same models
    return {name for model in models for name in model.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
    elif get_origin(annotation) is not None:
        for inner in get_args(annotation):
            yield from _models_in(inner)
