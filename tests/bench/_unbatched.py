"""The handler that one writes first: a request, a forward pass. The peer of `clinfuse serve`.

python -m tests.bench._unbatched ours STORE KEY               by our scorer, under a lock
python -m tests.bench._unbatched exported OUTCOME=FOLDER...   by transformers, on exported models
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

Predict = Callable[[str, str], list[tuple[str, float]]]  # text, outcome -> label, probability


class Request(BaseModel):
    texts: list[str]
    outcomes: list[str]


def main() -> None:
    os.environ["DS_ACCELERATOR"] = "cpu"
    arm, *arguments = sys.argv[1:]
    predict = by_scorer(*arguments) if arm == "ours" else by_transformers(arguments)
    app = FastAPI()

    @app.post("/v1/predict")
    def handler(request: Request) -> dict[str, Any]:
        [text], [outcome] = request.texts, request.outcomes
        return {"labels": dict(predict(text, outcome))}

    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listening])


def by_scorer(store: str, key: str) -> Predict:
    from tasks.score.scorer import Scorer

    scorer, lock = Scorer(store, device="cpu"), threading.Lock()

    def predict(text: str, outcome: str) -> list[tuple[str, float]]:
        with lock:
            scores = scorer.score([text], [key], [outcome])[key][outcome]
        return list(zip(scores.labels.codes, scores.probabilities[0].tolist(), strict=True))

    return predict


def by_transformers(folders: list[str]) -> Predict:
    from transformers import pipeline

    models = {
        outcome: pipeline("text-classification", folder, trust_remote_code=True, top_k=None)
        for outcome, _, folder in (each.partition("=") for each in folders)
    }

    def predict(text: str, outcome: str) -> list[tuple[str, float]]:
        [labels] = models[outcome]([text], function_to_apply="sigmoid")
        return [(each["label"], each["score"]) for each in labels]

    return predict


if __name__ == "__main__":
    main()
