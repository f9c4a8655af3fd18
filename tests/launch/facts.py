"""A training program that writes down what its rank found: the environment, threads, memory."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import torch
import transformers  # notes the path of its cache
from huggingface_hub import constants

from tasks.config import Config
from tasks.training.program import World, run

launches_before = 0


class FactsJob(Config):
    pass


def _program() -> str | None:
    """The module that this process was started with."""
    spec = sys.modules["__main__"].__spec__
    return spec and spec.name


def main(job: FactsJob, world: World) -> None:
    global launches_before
    ones = torch.ones(1500, 1500)
    (sum_of_corner,) = world.sum(float((ones @ ones)[0, 0]))
    umask = os.umask(0)
    facts = {
        "forked": _program() == "tasks.training.ranks",
        "parent": os.getppid(),
        "launches_before": launches_before,
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.is_initialized(),
        "sum": sum_of_corner,
        "numpy": float((np.ones((500, 500)) @ np.ones((500, 500)))[0, 0]),
        "cache": constants.HF_HUB_CACHE,
        "modules": transformers.utils.hub.HF_MODULES_CACHE,
        "operators": os.environ["TORCH_EXTENSIONS_DIR"],
        "folder": os.getcwd(),
        "umask": umask,
    }
    launches_before += 1
    (world.work / f"facts-{world.rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    run(FactsJob, main)
