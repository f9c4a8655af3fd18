"""A flow for each stage of the chain, and `adapt`, all of it; each takes a preset and what differs.

The parameters are plain values and few, because Prefect's run form shows them: it asks for nothing
that the preset gives, and sends nothing that was not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from prefect import Flow, flow
from prefect.runtime import flow_run

from flows.chain import Chain
from flows.check import OWN, STAGES, check
from flows.config import AdaptConfig
from flows.hooks import HOOKS
from flows.loading import as_yaml, load_config
from flows.publish import alarm, publish, publish_audit, telling
from flows.track import tracked
from tasks.audit import steps as auditing
from tasks.baselines import steps as comparing
from tasks.evaluate import steps as evaluating
from tasks.finetune import steps as finetuning
from tasks.flow_run import steering
from tasks.ingest import steps as ingesting
from tasks.pretrain import steps as pretraining
from tasks.report import steps as reporting
from tasks.step import Step

STEPS = (ingesting, pretraining, finetuning, comparing, evaluating, reporting, auditing)
LONGEST_NAME = 120  # characters of a run's name in Prefect's lists
_PARAMETERS = """
    Args:
        preset: A YAML file of configuration, e.g. configs/demo.yaml.
        overrides: What differs from it, as key=value, e.g. finetune.epochs=3.
        name: The run's name in reports; empty: the preset's.
        source: The folder or file of the notes (ingest.source); empty: the preset's.
        ranks: Processes of a training, one a GPU (launch.ranks); empty: the preset's.
        refresh: Stages or kinds whose artifacts are made anew.
        make_missing: Whether artifacts of earlier stages that are missing are made, or refused.
"""


def refreshable(flow: str) -> tuple[str, ...]:
    """The stages and kinds of artifact that the flow of that name comes to, and can make anew."""
    steps = [step for module in STEPS for step in vars(module).values() if isinstance(step, Step)]
    reached = [
        name
        for step in steps
        for name in (step.stage, step.kind)
        if step.stage in STAGES[flow] or (name == step.kind and name in STAGES[flow])
    ]
    return tuple(dict.fromkeys(reached))


def configured(
    preset: str, overrides: Sequence[str], name: str | None, source: str | None, ranks: int | None
) -> AdaptConfig:
    """The preset with what differs laid over it. Raises ConfigError as `load_config` does."""
    typed = {"name": name, "ingest.source": source, "launch.ranks": ranks}
    more = [f"{key}={as_yaml(value)}" for key, value in typed.items() if value is not None]
    return load_config(Path(preset), [*overrides, *more])


def run_name() -> str:
    """What a run does, for Prefect's lists: its preset, what differs, and what is made anew.

    >>> _run_name({"preset": "configs/demo.yaml", "overrides": ["finetune.epochs=1"]})
    'demo, finetune.epochs=1'
    """
    return _run_name(flow_run.parameters)


def _run_name(parameters: dict[str, Any]) -> str:
    typed = ("name", "source", "ranks")
    words = [
        Path(parameters["preset"]).stem,
        *parameters.get("overrides", ()),
        *(f"{key}={parameters[key]}" for key in typed if parameters.get(key) is not None),
        *(f"{stage} anew" for stage in parameters.get("refresh", ())),
    ]
    whole = ", ".join(words)
    return whole if len(whole) <= LONGEST_NAME else f"{whole[: LONGEST_NAME - 1]}\u2026"


def stage_flow(name: str, summary: str, make: Callable[[Chain], object]) -> Flow[..., None]:
    """A flow that runs the chain up to the stage of that name, or all of it.

    Args:
        make: asks the chain for what the flow makes.
    """

    def body(
        preset: str = "configs/demo.yaml",
        overrides: tuple[str, ...] = (),
        name: str | None = None,
        source: str | None = None,
        ranks: int | None = None,
        refresh: tuple[str, ...] = (),
        make_missing: bool = True,
    ) -> None:
        config = configured(preset, overrides, name, source, ranks)
        check(config, flow=stage)
        steered = steering(refresh=refresh, makers=None if make_missing else OWN[stage])
        with telling(config.name), tracked(config.name, config.track.tensorboard), steered:
            make(Chain(config))

    stage = name
    body.__name__ = body.__qualname__ = name
    body.__doc__ = f"{summary}\n{_PARAMETERS}"
    # the form then offers these names, and the server refuses others
    body.__annotations__["refresh"] = tuple[Literal[refreshable(name)], ...]  # type: ignore[misc]
    named = flow(
        name=name, flow_run_name=run_name, persist_result=False, result_serializer="json", **HOOKS
    )
    return named(body)


def _report(chain: Chain) -> None:
    publish(chain.config.name, chain.reported)
    alarm(chain.config.name, chain.reported, chain.config.report.alarm_below)


def _pretrain(chain: Chain) -> None:
    """The adapters that a member has among its summands; asked for alone, the clinical one."""
    chain.pretraining(chain.wanted or ("clinical",))


def _audit(chain: Chain) -> None:
    publish_audit(chain.config.name, chain.leaks)


def _memory(chain: Chain) -> None:
    publish_audit(chain.config.name, chain.memory)


ingest = stage_flow(
    "ingest", "Read the source: notes, splits, cohort, outcomes.", attrgetter("ingested")
)
pretrain = stage_flow(
    "pretrain",
    "Train the adapters of the domain on training patients' notes.",
    _pretrain,
)
finetune = stage_flow(
    "finetune",
    "Train the members, and predict with each and its ablations.",
    attrgetter("finetuned"),
)
baselines = stage_flow(
    "baselines", "Fit what the members are compared with, and predict.", attrgetter("baselines")
)
evaluate = stage_flow("evaluate", "Measure the predictions and report.", _report)
adapt = stage_flow("adapt", "Take MIMIC's files to a report of AUROCs.", _report)
audit = stage_flow("audit", "Look for sections of the notes that give an outcome away.", _audit)
memory = stage_flow(
    "memory",
    "Train an adapter on notes with made-up ones among them, and look what it remembers.",
    _memory,
)
FLOWS = (adapt, ingest, pretrain, finetune, baselines, evaluate, audit, memory)
