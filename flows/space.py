"""What a search chooses from: the values of its keys, as overrides of the run that is tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from flows.check import check
from flows.config import RangeConfig, SearchConfig
from flows.loading import as_yaml, load_search, load_trial
from tasks.errors import ConfigError

Value = str | int | float  # a listed one as `--set` takes it: lists and mappings are values, too
DIGITS = 6  # of a drawn number: what a `--set` line can be read with
LARGEST_GRID = 100_000  # combinations


def distributions(config: SearchConfig) -> dict[str, BaseDistribution]:
    """The space as Optuna has it."""
    return {key: _distribution(values) for key, values in config.space.items()}


def overrides_of(values: Mapping[str, Value]) -> tuple[str, ...]:
    """The values of a trial as `--set` takes them."""
    return tuple(f"{key}={in_words(value)}" for key, value in values.items())


def in_words(value: Value) -> str:
    """A value as `--set` takes it.

    >>> in_words("[q_proj, v_proj]"), in_words(8), in_words(0.000123456789)
    ('[q_proj, v_proj]', '8', '0.000123457')
    """
    match value:
        case str():
            return value
        case float():
            return as_yaml(float(f"{value:.{DIGITS}g}"))
        case _:
            return as_yaml(value)


def short_names(keys: Collection[str]) -> dict[str, str]:
    """What to call keys in a table: by their last word, where no two have the same.

    >>> short_names(["finetune.adapter.rank", "finetune.epochs"])
    {'finetune.adapter.rank': 'rank', 'finetune.epochs': 'epochs'}
    >>> short_names(["finetune.adapter.rank", "pretrain.adapter.rank"])["pretrain.adapter.rank"]
    'pretrain.adapter.rank'
    """
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)
    }


def grid(config: SearchConfig) -> list[dict[str, Value]]:
    """Every combination once, shuffled by the seed: a grid that is cut short is spread out.

    Raises ConfigError where there are too many.
    """
    columns = [_points(values) for values in config.space.values()]
    if (size := math.prod(map(len, columns))) > LARGEST_GRID:
        raise ConfigError(
            f"the grid has {size:,} combinations, more than {LARGEST_GRID:,}; list fewer values, "
            "or set sampler to tpe or random"
        )
    points = [
        dict(zip(config.space, values, strict=True)) for values in itertools.product(*columns)
    ]
    order = np.random.default_rng(config.seed).permutation(len(points))
    return [points[index] for index in order]


def check_search(path: Path, overrides: Sequence[str] = ()) -> SearchConfig:
    """The search of that file, if each value of its space alone gives a run that could be run.

    Raises ConfigError, SourceError or ModelError otherwise.
    """
    config = load_search(path, overrides)
    check(config.run, flow="search")
    if config.sampler == "grid":
        grid(config)
    for override in _each_alone(config):
        try:
            check(load_trial(path, [*overrides, override]), flow="search")
        except ConfigError as error:
            raise ConfigError(f"space, {override}: {error}") from None
    return config


def _each_alone(config: SearchConfig) -> Iterator[str]:
    """Each listed value and both ends of each range, as an override."""
    for key, values in config.space.items():
        ends = (
            (values.low, values.high) if isinstance(values, RangeConfig) else map(as_yaml, values)
        )
        yield from (f"{key}={in_words(value)}" for value in ends)


def _points(values: tuple[object, ...] | RangeConfig) -> list[Value]:
    if not isinstance(values, RangeConfig):
        return [as_yaml(value) for value in values]
    step = values.step or 1
    count = math.floor((values.high - values.low) / step * (1 + 1e-9)) + 1
    return [values.low + index * step for index in range(count)]


def _distribution(values: tuple[object, ...] | RangeConfig) -> BaseDistribution:
    match values:
        case RangeConfig(low=int(low), high=int(high), log=log):
            return IntDistribution(low, high, log=log, step=int(values.step or 1))
        case RangeConfig(low=low, high=high, log=log, step=step):
            return FloatDistribution(low, high, log=log, step=step)
        case _:
            return CategoricalDistribution([as_yaml(value) for value in values])
