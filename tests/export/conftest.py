"""Members that were built and not trained: adapters and heads with weights that matter."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tasks import schemas, tables
from tasks.data.notes import padded
from tasks.data.tokenizer import LoadedTokenizer
from tasks.export.job import ExportJob
from tasks.finetune import embed
from tasks.finetune.encode import cut, encode
from tasks.finetune.jobs import EmbedJob, MemberJob
from tasks.finetune.members import UNFUSED
from tasks.finetune.study import Study
from tasks.finetune.train import build
from tasks.model.adapters.build import add_new_adapter
from tasks.model.adapters.files import write_adapter
from tasks.model.adapters.methods import Lora
from tasks.model.bases.load import load_base
from tasks.model.classifier import Classifier, load_classifier
from tasks.model.heads.heads import Heads
from tasks.model.trunk import freeze, summands_of
from tasks.training.program import World
from tests.finetune.conftest import CLASSES, LABELS, Inputs
from tests.finetune.conftest import inputs as inputs
from tests.finetune.test_train import one_rank
from tests.pretrain.encoders import write_encoder

MOST = 40  # tokens of a note that are read
NAMES = tuple(" ".join(filter(None, (code, title))) for _, code, title, _ in LABELS)
CLASS_NAMES = tuple(code for _, code, _, _ in CLASSES)
# neither flows nor tasks can be imported: no path of ours, and no site that would add one
ALONE = "import sys; sys.path.append({packages!r})\n"
REFUSES = """
for name in ("flows", "tasks"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit("clinfuse can be imported")
"""


def notes_of(inputs: Inputs, count: int = 6) -> list[str]:
    """Notes of the cohort, a short one, one with markers, and one that is longer than is read."""
    notes = tables.read(inputs.cohort / "admissions", schemas.ADMISSIONS)["note"].to_pylist()
    long = " ".join(notes[:12])
    return [*notes[:count], "heart", "<s> a [CLS] heart </s><pad> stone [SEP]", long]


def randomized(job: MemberJob, world: World, out: Path) -> None:
    """Build the member as training does, move all that would be trained, and save it."""
    study = Study.read(job)
    model = build(study, world)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    if isinstance(model, Classifier):
        model.save(out)
    else:
        model.write(out)


def frozen_encoder(inputs: Inputs, folder: Path) -> MemberJob:
    """Heads on an encoder with a summand at half its strength; words are joined to states.

    Its notes are longer than it reads at once.
    """
    base = write_encoder(folder / "encoder", with_output=True)
    torch.manual_seed(0)
    method = Lora(rank=4, targets=("query", "value"))
    adapted = add_new_adapter(load_base(base).model, method, "default")
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    write_adapter(folder / "ontology", adapted, "default")
    encode(folder / "encoded", inputs.cohort, base, 300)
    trunk = {
        "base": base,
        "tokenizer": base,
        "words": True,
        "summands": {"ontology": folder / "ontology"},
        "weights": {"ontology": 0.5},
    }
    job = inputs.job(UNFUSED, adapter=None, head={"scaling": "centered"})
    job = job.model_copy(update={**trunk, "encoded": folder / "encoded"})
    embedding = EmbedJob(**trunk, precision="fp32")
    whose = {"states": {"encoded": job.encoded}, "titles": {"outcomes": job.outcomes}}
    for name, of_what in whose.items():
        embed.main(embedding.model_copy(update=of_what), one_rank(folder / name))
    return job.model_copy(update={"states": folder / "states", "titles": folder / "titles"})


def export_job(job: MemberJob, member: Path, **more: Any) -> ExportJob:
    given = {"max_tokens": MOST, "outcome": "diagnoses", "labels": NAMES, "one_of": False} | more
    return ExportJob(
        base=job.base,
        layer=job.layer,
        words=job.words,
        chunk=job.chunk,
        summands=job.summands,
        weights=job.weights,
        fusions=job.fusion_of,
        member=member,
        frozen=job.config.adapter is None,
        tokenizer=job.tokenizer,
        **given,
    )


@torch.no_grad()
def member_logits(job: ExportJob, notes: list[str]) -> NDArray[np.float32]:
    """What clinfuse itself says of these notes, one by one, encoded as its own step does."""
    base = load_base(job.base, layer=job.layer, words=job.words, chunk=job.chunk)
    summands = summands_of(job.summands, job.weights, job.fusions)
    heads: Heads
    if job.frozen:
        freeze(base, summands)
        heads = Heads()
        heads.read(job.member)
        heads.eval()
    else:
        heads = load_classifier(base, job.member, summands)
    base.model.eval()
    tokenizer = LoadedTokenizer.load(job.tokenizer)
    logits = []
    for ids in ids_of(job, notes):
        arrays = padded([ids], tokenizer.pad)
        given, present = (torch.from_numpy(array) for array in arrays)
        states = base.states(given, present)
        logits.append(Heads.forward(heads, states, present)[job.outcome][0].numpy())
    return np.array(logits)


def ids_of(job: ExportJob, notes: list[str]) -> list[NDArray[np.int32]]:
    """The notes' token ids, as finetune cuts them."""
    tokenizer = LoadedTokenizer.load(job.tokenizer)
    encoded = [np.array(tokenizer.tokenizer.encode(note).ids, np.int32) for note in notes]
    most = job.max_tokens or 10**9
    last = max(job.tail_tokens, len(tokenizer.frame[1]))
    return [cut(ids, most, last) for ids in encoded]


def run_alone(code: str, folder: Path) -> str:
    """What a program prints that has torch, transformers and peft, and nothing of ours."""
    packages = sysconfig.get_paths()["purelib"]
    environment = {
        "HOME": str(folder),
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE.format(packages=packages) + REFUSES + code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
