"""The model card: Markdown with the metadata of the Hugging Face hub, beside the report.

Fields: https://huggingface.co/docs/hub/model-cards; sections after Mitchell et al. 2019,
arXiv 1810.03993. Nothing is uploaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.evaluate.report.account import Account
from tasks.evaluate.report.figures import short
from tasks.evaluate.report.findings import variant_title
from tasks.evaluate.report.outcome_words import view_words
from tasks.evaluate.report.tripod import checklist

if TYPE_CHECKING:
    from jinja2 import Environment

    from tasks.evaluate.report.page import Story

TEMPLATES = Path(__file__).parent / "templates"
NOTES_LICENSE = "source-data-use-agreement"  # of whoever gave the notes; stricter than any default
SYNTHETIC_LICENSE = "not-chosen-yet"
DECIMALS = 4


def write_card(out: Path, story: Story) -> None:
    """Write `model-card.md` and `tripod-ai.md`."""
    about = Account(story)
    environment = card_environment(story.config.smallest_cell)
    facts = {
        "about": about,
        "story": story,
        "findings": story.findings,
        "view": view_words(about.setting("ingest.view")),
    }
    items = checklist(environment, facts)
    pages = {
        "model-card.md": facts | {"metadata": metadata(about)},
        "tripod-ai.md": facts | {"items": items},
    }
    for name, given in pages.items():
        text = environment.get_template(name).render(given)
        (out / name).write_text(text.rstrip() + "\n", encoding="utf-8")


def metadata(about: Account) -> str:
    """The card's YAML front matter, without its marks."""
    from huggingface_hub.repocard_data import ModelCardData

    measures = ["roc_auc", *(["brier_score"] if about.measured("brier_macro") else [])]
    given: dict[str, Any] = {
        "language": "en",  # the only one whose section headings are known
        "license": "other",
        "license_name": SYNTHETIC_LICENSE if about.synthetic else NOTES_LICENSE,
        "library_name": "peft",
        "pipeline_tag": "text-classification",
        "tags": ["clinical-notes", "lora", "adapter-fusion", "research-only", "arxiv:2307.03042"],
        "metrics": measures,
        "inference": False,  # two adapters and heads of our own: no hosted widget can run them
    }
    if base := about.setting("pretrain.base.id"):
        given |= {"base_model": base, "base_model_relation": "adapter"}
    results = list(_results(about))
    if results:
        given |= {"model_name": about.story.run, "eval_results": results}
    return ModelCardData(**given).to_yaml()


def card_environment(smallest_cell: int) -> Environment:
    """How both pages print a number; they are Markdown, in which titles cannot do harm."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_filters(smallest_cell))
    return environment


def _results(about: Account) -> Iterator[Any]:
    """Macro AUROC on test of every adapter variant and outcome, as the hub's model-index has it."""
    from huggingface_hub.repocard_data import EvalResult

    source = "generated patients" if about.synthetic else "notes under a data use agreement"
    for space in about.spaces:
        for arm in about.arms:
            row = about.value("auroc_macro", space, arm)
            if row is None:
                continue
            yield EvalResult(
                task_type="text-classification",
                task_name=f"{space.title}, {space.system}",
                dataset_type="private",
                dataset_name=f"Held-out patients of {about.story.run} ({source})",
                dataset_config=space.outcome,
                dataset_split="test",
                metric_type="roc_auc",
                metric_value=round(row["value"], DECIMALS),
                metric_name=f"Macro AUROC, {short(arm)}, {_span(row)}",
                metric_config="macro",
            )


def _filters(smallest: int) -> dict[str, Callable[..., str]]:
    return {
        "figure": _figure,
        "span": _span,
        "auroc": _auroc,
        "signed": lambda row: _figure(row, sign=True),
        "count": lambda value: f"{value:,.0f}",
        "small": lambda value: f"<{smallest}" if 0 < value < smallest else f"{value:,.0f}",
        "setting": _setting,
        "duration": _duration,
        "variant": variant_title,
        "short": short,
        "cell": lambda text: str(text).replace("|", "/").replace("\n", " "),
    }


def _figure(row: Mapping[str, Any] | None, sign: bool = False) -> str:
    """A value with its interval, "0.812 (0.790 to 0.834)"."""
    if row is None or row["value"] is None:
        return "undefined"
    form = "+.3f" if sign else ".3f"
    if row["low"] is None:
        return f"{row['value']:{form}}"
    return f"{row['value']:{form}} ({row['low']:{form}} to {row['high']:{form}})"


def _auroc(row: Mapping[str, Any] | None) -> str:
    """The same of a measure that has an interval unless too few patients decide it."""
    withheld = row and row["value"] is not None and row["low"] is None
    return _figure(row) + (" (interval withheld)" if withheld else "")


def _span(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return "interval withheld"
    return f"95% interval {row['low']:.{DECIMALS}f} to {row['high']:.{DECIMALS}f}"


def _setting(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _duration(seconds: float) -> str:
    """A length of time as one reads it.

    >>> _duration(83.4), _duration(600), _duration(90_000)
    ('83 s', '10 min', '25.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
