"""Score notes in a process of its own: by our scorer, or by a pipeline on an export.

python -m tests.bench._scorings ours NOTES ANSWER STORE KEY...
python -m tests.bench._scorings peer NOTES ANSWER EXPORTED
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.bench._memory import high_water_mib

BATCH = 16  # of the pipeline, whose default is one text at a time


def main() -> None:
    arm, notes, answer, *arguments = sys.argv[1:]
    os.environ["DS_ACCELERATOR"] = "cpu"
    texts = json.loads(Path(notes).read_text())
    logits = ours(texts, *arguments) if arm == "ours" else peer(texts, *arguments)
    told = {"peak_mib": high_water_mib(), "logits": logits}
    Path(answer).write_text(json.dumps(told))


def ours(texts: list[str], store: str, *keys: str) -> dict[str, Any]:
    from tasks.score.scorer import Scorer
    from tasks.store import Store

    scorer = Scorer(Store(Path(store), read_only=True), device="cpu")
    told = scorer.score(texts, keys)
    return {
        outcome: scores.logits.tolist()
        for of_member in told.values()
        for outcome, scores in of_member.items()
    }


def peer(texts: list[str], exported: str) -> dict[str, Any]:
    from transformers import pipeline

    classify = pipeline("text-classification", exported, trust_remote_code=True, top_k=None)
    order = list(classify.model.config.id2label.values())
    # code of our own cuts a note itself
    cut = {} if hasattr(classify.model.config, "auto_map") else {"truncation": True}
    rows = classify(texts, batch_size=BATCH, function_to_apply="none", **cut)
    scores = [{one["label"]: one["score"] for one in row} for row in rows]
    return {"peer": [[of_note[name] for name in order] for of_note in scores]}


if __name__ == "__main__":
    main()
