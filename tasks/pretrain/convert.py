"""Convert a base from a GGUF file; by hand: `python -m tasks.pretrain.convert work/job.json`."""

from __future__ import annotations

import json

from tasks.model.bases.gguf import convert_gguf
from tasks.pretrain.jobs import ConvertJob
from tasks.training.program import World, run


def main(job: ConvertJob, world: World) -> None:
    """Leave the model and its tokenizer beside the work folder."""
    model = convert_gguf(job.base.file.resolve(), world.work.parent)
    counts = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    (world.work / "counts.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    run(ConvertJob, main)
