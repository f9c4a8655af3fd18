"""The model card: Markdown with the metadata of the Hugging Face hub, beside the report.

Fields: https://huggingface.co/docs/hub/model-cards; sections after Mitchell et al. 2019,
arXiv 1810.03993. Nothing is uploaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tasks.metrics_table import WITHHELD
from tasks.report.card_facts import CardFacts
from tasks.report.document import Part, written
from tasks.report.missing import Missing, attempt
from tasks.report.outcome_words import view_words
from tasks.report.printing import environment, span
from tasks.report.story import Story
from tasks.report.tripod import checklist

NOTES_LICENSE = "source-data-use-agreement"  # of whoever gave the notes; stricter than any default
SYNTHETIC_LICENSE = "not-chosen-yet"
DECIMALS = 4


PARTS = (  # of the card: a template each, and its heading
    Part("top", "The model"),
    Part("model", "What it is"),
    Part("outcomes", "What it predicts"),
    Part("use", "Intended use"),
    Part("data", "Training data"),
    Part("training", "Training procedure"),
    Part("evaluation", "Evaluation"),
    Part("limitations", "Limitations"),
    Part("license", "License and data protection"),
    Part("loading", "How to load it"),
    Part("environment", "Environment"),
    Part("citation", "Citation"),
)


def write_card(out: Path, story: Story) -> None:
    """Write `model-card.md` and `tripod-ai.md`."""
    about = CardFacts(story)
    view = attempt(
        "what is read",
        partial(view_words, about.setting("ingest.view"), about.setting("ingest.source")),
    )
    facts = {
        "about": about,
        "story": story,
        "findings": story.findings,
        "of_mimic": story.source.kind == "mimic",
        "view": None if isinstance(view, Missing) else view,
    }
    head = attempt("the card's metadata", partial(metadata, about))
    front = "" if isinstance(head, Missing) else f"---\n{head}\n---\n\n"
    sections = written("card", PARTS, facts, ("md",))["md"]
    card = front + "\n\n".join(section.text for section in sections)
    items = checklist(facts)
    tripod = environment().get_template("tripod-ai.md").render(facts | {"items": items})
    for name, text in (("model-card.md", card), ("tripod-ai.md", tripod)):
        (out / name).write_text(text.rstrip() + "\n", encoding="utf-8")


def metadata(about: CardFacts) -> str:
    """The card's YAML front matter, without its marks."""
    from huggingface_hub.repocard_data import ModelCardData

    measures = ["roc_auc", *(["brier_score"] if about.measured("brier_macro") else [])]
    given: dict[str, Any] = {
        "license": "other",
        "license_name": SYNTHETIC_LICENSE if about.story.synthetic else NOTES_LICENSE,
        "library_name": "peft",
        "pipeline_tag": "text-classification",
        "tags": ["clinical-notes", "lora", "adapter-fusion", "research-only", "arxiv:2307.03042"],
        "metrics": measures,
        # a table of one's own may be in any language
        **({} if about.story.source.kind == "table" else {"language": "en"}),
        "inference": False,  # two adapters and heads of our own: no hosted widget can run them
    }
    if base := about.setting("pretrain.base.id"):
        given |= {"base_model": base, "base_model_relation": "adapter"}
    results = list(_results(about))
    if results:
        given |= {"model_name": about.story.run, "eval_results": results}
    return ModelCardData(**given).to_yaml()


def _results(about: CardFacts) -> Iterator[Any]:
    """Macro AUROC on test of every adapter variant and outcome, as the hub's model-index has it."""
    from huggingface_hub.repocard_data import EvalResult

    source = "generated patients" if about.story.synthetic else "notes under a data use agreement"
    for space in about.spaces:
        for member in about.members:
            row = about.story.findings.within("auroc_macro", member, space)
            if row is None:
                continue
            between = span(row, f".{DECIMALS}f")
            interval = between if between == WITHHELD else f"95% interval {between}"
            yield EvalResult(
                task_type="text-classification",
                task_name=f"{space.title}, {space.system}",
                dataset_type="private",
                dataset_name=f"Held-out patients of {about.story.run} ({source})",
                dataset_config=space.outcome,
                dataset_split="test",
                metric_type="roc_auc",
                metric_value=round(row["value"], DECIMALS),
                metric_name=f"Macro AUROC, {member.short_title}, {interval}",
                metric_config="macro",
            )
