"""Quantize a base; by hand: `python -m tasks.pretrain.quantize work/job.json`."""

from __future__ import annotations

import json

from tasks.model.bases.quantized import quantize
from tasks.pretrain.jobs import QuantizeJob
from tasks.training.program import World, run


def main(job: QuantizeJob, world: World) -> None:
    """Leave the model and its tokenizer beside the work folder."""
    model = quantize(job.base, job.quantization, world.work.parent)
    size = model.get_memory_footprint()  # type: ignore[no-untyped-call]
    counts = {"bytes_of_weights": size}
    (world.work / "counts.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    run(QuantizeJob, main)
