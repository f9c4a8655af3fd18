"""A method, a head, a base or a watcher that is new touches two files at most, and works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.finetune.conftest import Inputs
from tests.finetune.conftest import inputs as inputs

ROOT = Path(__file__).parents[1]
NEW = None  # what a new file replaces

# what is added: file -> what stands there, and what is to stand there
Change = dict[str, list[tuple[str | None, str]]]
METHOD: Change = {
    "tasks/model/adapters/methods.py": [
        (
            "TaskMethod = Annotated[\n    Lora",
            '''class LoHa(OnLayers):
    """A Hadamard product of low-rank updates (Hyeon-Woo et al. 2022)."""

    kind: Literal["loha"] = "loha"

    def peft(self) -> dict[str, Any]:
        return {"peft_type": "LOHA", "r": 4}


TaskMethod = Annotated[
    LoHa
    | Lora''',
        )
    ],
    "tasks/model/adapters/allows.py": [
        (
            "OF_TASKS = {\n",
            'OF_TASKS = {\n    "loha": Allows(2e-3, None, True, True, True, True, False, ()),\n',
        )
    ],
}
HEAD: Change = {
    "tasks/model/heads/config.py": [
        (
            "HeadConfig = Annotated[\n    LabelAttentionConfig",
            '''class BestTokenConfig(_AnyHead):
    """Each label takes the token that speaks most for it."""

    kind: Literal["best_token"] = "best_token"

    def build(self, hidden: int, labels: int) -> Head:
        from tasks.model.heads.best_token import BestTokenHead

        return BestTokenHead(hidden, labels)


HeadConfig = Annotated[
    BestTokenConfig | LabelAttentionConfig''',
        )
    ],
    "tasks/model/heads/best_token.py": [
        (
            NEW,
            """import torch
from torch import nn

from tasks.model.heads.head import Head


class BestTokenHead(Head):
    def __init__(self, hidden, labels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(labels, hidden))
        self.bias = nn.Parameter(torch.zeros(labels))

    def start_from_titles(self, titles, known):
        with torch.no_grad():
            self.weight[known] = titles[known]

    def forward(self, hidden, present):
        logits = hidden.float() @ self.weight.T
        return logits.masked_fill(~present[:, :, None], -torch.inf).amax(1) + self.bias
""",
        )
    ],
}
BASE: Change = {
    "tasks/model/bases/config.py": [
        (
            "GivenBase = PathBase",
            '''class NewestBase(Config):
    """The directory that comes last among those of a folder."""

    kind: Literal["newest"] = "newest"
    of: Path
    name: ClassVar[None] = None

    def folder(self) -> Path:
        return max(path for path in self.of.iterdir() if (path / "config.json").is_file())


GivenBase = NewestBase | PathBase''',
        ),
        ("from typing import Annotated,", "from typing import Annotated, ClassVar,"),
    ]
}
WATCHER: Change = {
    "tasks/training/watchers/clock.py": [
        (
            NEW,
            """from tasks.training.watchers.watcher import Watcher


class Clock(Watcher):
    def end(self, run):
        (run.world.work / "clock").write_text(f"{run.state.step} steps")
""",
        )
    ],
    "tasks/finetune/train.py": [
        ("            collapse,\n", "            collapse,\n            Clock(),\n"),
        (
            "from tasks.training.watchers.movement",
            "from tasks.training.watchers.clock import Clock\n"
            "from tasks.training.watchers.movement",
        ),
    ],
}
PROGRAM = """
import os, sys
from dataclasses import replace
from pathlib import Path

import torch

os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
os.environ |= {"MASTER_PORT": "0", "DS_ACCELERATOR": "cpu"}
torch.distributed.init_process_group("gloo")

from tasks.data.notes import Notes
from tasks.finetune import predict, train
from tasks.finetune.members import UNFUSED
from tasks.finetune.stage import _predicting
from tasks.pretrain.config import PretrainConfig
from tasks.training.program import World
from tests.finetune.conftest import Inputs
from tests.finetune.conftest import inputs as inputs

inputs, out = Inputs(Path(sys.argv[1])), Path(sys.argv[2])
config = PretrainConfig.model_validate({"base": {"kind": "newest", "of": str(inputs.root)}})
job = inputs.job(
    UNFUSED, adapter="loha", head={"kind": "best_token", "learning_rate": 3e-2}, epochs=4
).model_copy(update={"base": config.base.folder()})
world = World(0, 1, 0, out / "member" / "work", torch.device("cpu"))
world.work.mkdir(parents=True)
train.main(job, world)
world = replace(world, work=out / "predicted" / "work")
world.work.mkdir(parents=True)
predict.main(_predicting(UNFUSED, job, out / "member"), world)
"""


@pytest.mark.slow
def test_what_is_new_touches_two_files_at_most(inputs: Inputs, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tasks", tmp_path / "code" / "tasks")
    for change in (METHOD, HEAD, BASE, WATCHER):
        assert len(change) <= 2
        _make(change, tmp_path / "code")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(tmp_path / "code"), str(ROOT))),
        "PYTHONSAFEPATH": "1",
    }
    command = [sys.executable, "-c", PROGRAM, str(inputs.root), str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    member = tmp_path / "out" / "member"
    assert '"peft_type": "LOHA"' in (member / "adapter_config.json").read_text()
    assert '"kind": "best_token"' in (member / "head.json").read_text()
    assert (member / "work" / "clock").read_text().endswith("steps")
    assert (tmp_path / "out" / "predicted" / "unfused" / "diagnoses" / "test.parquet").is_file()


def _make(change: Change, code: Path) -> None:
    for name, edits in change.items():
        path = code / name
        for before, after in edits:
            if before is NEW:
                assert not path.exists()
                path.write_text(after)
                continue
            text = path.read_text()
            assert text.count(before) == 1, (name, before)
            path.write_text(text.replace(before, after))
