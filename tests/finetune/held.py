"""A program that builds a member as training does, and says how much of the base its rank holds."""

from __future__ import annotations

from tasks.finetune.jobs import MemberJob
from tasks.finetune.study import Study
from tasks.finetune.train import build
from tasks.training.program import World, run


def main(job: MemberJob, world: World) -> None:
    """Write the number of the base's elements in this rank's memory."""
    model = build(Study.read(job), world)
    base = [
        getattr(parameter, "ds_tensor", parameter).numel()
        for name, parameter in model.backbone.named_parameters()
        if not parameter.requires_grad and hasattr(parameter, "ds_id")
    ]
    (world.work / f"held-{world.rank}").write_text(str(sum(base)))


if __name__ == "__main__":
    run(MemberJob, main)
