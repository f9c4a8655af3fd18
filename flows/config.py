"""AdaptConfig: the stages' configs in one model; CompareConfig: several of them; from YAML."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError, model_validator
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic_core import CoreSchema, ErrorDetails

from tasks.config import Config
from tasks.errors import ConfigError
from tasks.evaluate.config import EvaluateConfig, LeaksConfig
from tasks.finetune.config import FinetuneConfig
from tasks.ingest.config import IngestConfig
from tasks.launch import LaunchConfig
from tasks.pretrain.config import PretrainConfig

NAME = r"^[a-z0-9][a-z0-9-]*$"
_Model = TypeVar("_Model", bound=BaseModel)


class Preset(Config):
    """A configuration of which a YAML file gives every value that is not given."""

    preset: Path | None = Field(
        None,
        description="A YAML file that gives every value not given here, e.g. configs/demo.yaml",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("preset") is not None:
            return merge(_read(Path(given["preset"])), given)
        return given

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Ask for nothing at the top in Prefect's form: the preset gives it."""
        described = handler(schema)
        handler.resolve_ref_schema(described).pop("required", None)
        return described


class AdaptConfig(Preset):
    """One run of the chain: what each stage does, and how its training programs are started."""

    name: str = Field(
        description="The run's name, in reports and Prefect's UI artifacts",
        pattern=NAME,
    )
    ingest: IngestConfig
    pretrain: PretrainConfig
    finetune: FinetuneConfig
    evaluate: EvaluateConfig
    audit: LeaksConfig = Field(
        default_factory=LeaksConfig, description="How `clinfuse audit leaks` looks for leaks"
    )
    launch: LaunchConfig = Field(
        default_factory=LaunchConfig, description="How training programs are started"
    )


class CompareConfig(Preset):
    """Several runs over several finetuning seeds: one leaderboard."""

    name: str = Field(
        description="The leaderboard's name, in its page and Prefect's UI artifacts", pattern=NAME
    )
    runs: tuple[AdaptConfig, ...] = Field(
        min_length=1,
        description="The runs that are compared: each a preset, a name, and what differs. All must "
        "have the same test admissions and labels",
    )
    seeds: tuple[NonNegativeInt, ...] = Field(
        default=(1, 2, 3),  # s^2 of two seeds has one degree of freedom: its interval says little
        min_length=1,
        description="Each run is finetuned with each of these as finetune.seed",
    )
    reference: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]*/.+$",
        description="The model that all others are compared with, as run/variant, e.g. demo/tfidf. "
        "Empty: the first run's TF-IDF, or else its first arm",
    )

    @model_validator(mode="after")
    def _each_is_named_once(self) -> CompareConfig:
        names = [run.name for run in self.runs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two runs are named '{min(twice)}'; give each a name of its own")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is given twice; give each once")
        if self.reference and self.reference.partition("/")[0] not in names:
            raise ValueError(
                f"the reference '{self.reference}' is of no run here; runs: {', '.join(names)}"
            )
        return self


def load_config(path: Path, overrides: Sequence[str] = ()) -> AdaptConfig:
    """Read a YAML file, apply `key.subkey=value` overrides, and check every key.

    Raises ConfigError: one line that names the key, what was given and what is allowed.
    """
    given = _read(path)
    for override in overrides:
        given = merge(given, _override(override))
    return _checked(AdaptConfig, path, given)


def load_compare(path: Path, overrides: Sequence[str] = ()) -> CompareConfig:
    """Read a comparison's YAML file as `load_config` reads a run's.

    An override of a run's key (`finetune.epochs=1`) holds for every run.
    """
    given = _read(path)
    for override in overrides:
        nested, runs = _override(override), given.get("runs")
        if CompareConfig.model_fields.keys() & nested.keys() or not isinstance(runs, list):
            given = merge(given, nested)
        else:
            shared = [merge(run, nested) if isinstance(run, dict) else run for run in runs]
            given = {**given, "runs": shared}
    return _checked(CompareConfig, path, given)


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another; where both hold mappings, key by key.

    >>> merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}})
    {'a': {'x': 1, 'y': 5}, 'b': 3}

    A mapping of another kind replaces what was there, whose keys it does not have:

    >>> merge({"base": {"kind": "scratch", "layers": 2}}, {"base": {"kind": "path", "path": "m"}})
    {'base': {'kind': 'path', 'path': 'm'}}
    """
    if above.get("kind", below.get("kind")) != below.get("kind"):
        return dict(above)
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, dict) and isinstance(under, dict)
        merged[key] = merge(under, value) if both else value  # type: ignore[arg-type]
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        given = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); correct the path") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path} is not YAML{line}; check indentation and quotes") from None
    if not isinstance(given, dict):
        raise ConfigError(f"{path} holds no keys; see configs/demo.yaml for what is expected")
    if given.get("preset") is not None:
        given = merge(_read(Path(given["preset"])), given)
    return given


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    return {keys[0]: value if len(keys) == 1 else _nested(keys[1:], value)}


def _override(given: str) -> dict[str, Any]:
    key, equals, value = given.partition("=")
    if not equals:
        raise ConfigError(f"--set {given}: write it as key=value, e.g. finetune.epochs=3")
    return _nested(key.strip().split("."), yaml.safe_load(value))


def _checked(model: type[_Model], path: Path, given: dict[str, Any]) -> _Model:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error.errors()[0], model)}") from None


def _explain(error: ErrorDetails, model: type[BaseModel]) -> str:
    """One sentence: the key, what was given, what is allowed, and the nearest right name."""
    place = [part for part in error["loc"] if not str(part).startswith("function-")]
    key = ".".join(str(part) for part in place)
    match error["type"]:
        case "extra_forbidden":
            known = sorted(_keys_beside(place, model))
            near = difflib.get_close_matches(str(place[-1]), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            return f"there is no key '{key}'; {hint}"
        case "missing":
            return f"the key '{key}' is missing; add it"
        case _:
            message = error["msg"][:1].lower() + error["msg"][1:]
            given = error.get("input")
            shown = f", not {given!r}" if isinstance(given, str | int | float | bool) else ""
            return f"'{key}': {message}{shown}"


def _keys_beside(place: list[Any], model: type[BaseModel]) -> set[str]:
    """The keys of every model that could stand where the unknown key was given."""
    models: list[Any] = [model]
    for part in place[:-1]:
        found = [
            model
            for parent in models
            if isinstance(part, str) and part in parent.model_fields
            for model in _models_in(parent.model_fields[part].annotation)
        ]
        models = found or models  # an index, or the tag of a union, stays at the same models
    return {name for model in models for name in model.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
    elif get_origin(annotation) is not None:
        for inner in get_args(annotation):
            yield from _models_in(inner)
