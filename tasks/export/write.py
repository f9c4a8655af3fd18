"""Write a member in forms that others load; by hand: `python -m tasks.export.write work/job.json`.

What was merged is loaded back from the disk, and has to give the logits that the member gave.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from tasks.data.notes import padded
from tasks.data.tokenizer import LoadedTokenizer
from tasks.errors import ModelError
from tasks.export.fused import Part, write_fused
from tasks.export.job import Exported, ExportJob
from tasks.export.merged import linear_head, write_merged
from tasks.export.modeling import ClinfuseForSequenceClassification
from tasks.export.plain import take_adapters_in
from tasks.model.adapters.gates import gates_in
from tasks.model.adapters.methods import TASK
from tasks.model.adapters.task import PeftAdapter
from tasks.model.bases.encoder import Encoder
from tasks.model.bases.files import is_quantized, positions_of
from tasks.model.bases.load import Base, load_base
from tasks.model.classifier import load_classifier
from tasks.model.heads.heads import Heads
from tasks.model.trunk import freeze, summands_of
from tasks.training.program import World, run

TEXTS = 4  # of random tokens, on which logits are compared
TOKENS = 48  # of the longest of them
TOLERANCE = 1e-3  # of a logit, relative to the largest; on small models it differs by below 1e-5


def main(job: ExportJob, world: World) -> None:
    """Leave merged/ and fused/ beside the work folder, and say in it what came of them."""
    out = world.work.parent
    heads = Heads()
    heads.read(job.member)
    facts: dict[str, object] = {}
    linear = linear_head(job, heads)
    try:
        if parts := _parts(job):
            facts["rank"] = write_fused(out / "fused", parts, linear)
            facts["with_head"] = linear is not None
            facts["with_bias"] = linear is not None and bool(linear.bias.any())
    except ModelError as error:
        facts["not_fused"] = str(error)
    try:
        facts |= _merge(job, out / "merged")
    except ModelError as error:
        shutil.rmtree(out / "merged", ignore_errors=True)
        facts["not_merged"] = str(error)
    (world.work / "exported.json").write_text(Exported.model_validate(facts).model_dump_json())


def _parts(job: ExportJob) -> list[Part]:
    """The adapters of the sum, in its order; what is continued is part of the task adapter."""
    parts = [
        Part(name, job.adapter(name), job.weights.get(name, 1.0), gates_in(job.member, name))
        for name in job.summands
        if job.fusions.get(name) != "continued"
    ]
    return parts if job.frozen else [*parts, Part(TASK, job.member, 1.0)]


def _merge(job: ExportJob, out: Path) -> dict[str, object]:
    """Write the member as one model; raises ModelError where it does not give the same logits."""
    if is_quantized(job.base):
        raise ModelError(
            "the base is quantized, and updates are lost in weights of few bits; take fused/, or "
            "adapters/ on the quantized base"
        )
    tokenizer = LoadedTokenizer.load(job.tokenizer)
    base = load_base(job.base, torch.float32, layer=job.layer, words=job.words, chunk=job.chunk)
    summands = summands_of(job.summands, job.weights, job.fusions)
    if job.frozen:
        freeze(base, summands)
        heads = Heads()
        heads.read(job.member)
        heads.eval()
    else:
        heads = load_classifier(base, job.member, summands)
        if isinstance(heads.task, PeftAdapter) and heads.task.virtual:
            raise ModelError(
                "the task adapter is tokens before a text, which are no part of any weights; take "
                "adapters/"
            )
    base.model.eval()  # type: ignore[no-untyped-call]
    texts = _texts(job, base, tokenizer)
    ids, present = (torch.from_numpy(array) for array in padded(texts, tokenizer.pad))
    with torch.no_grad():
        expected = Heads.forward(heads, base.states(ids, present), present)[job.outcome]
    take_adapters_in(base.model)
    own_code = write_merged(out, job, base, heads, tokenizer)
    del base, heads
    difference = float((_read_back(out, own_code, ids, present) - expected).abs().max())
    if job.dtype == "float32" and difference > TOLERANCE * max(1.0, float(expected.abs().max())):
        raise ModelError(
            f"the merged model gives logits that differ by up to {difference:.2g} from those of "
            "the member, so that its architecture is not one that can be merged; take adapters/"
        )
    return {"own_code": own_code, "difference": difference}


def _texts(job: ExportJob, base: Base, tokenizer: LoadedTokenizer) -> list[list[int]]:
    """Texts of random tokens and of several lengths, one longer than the base reads at once."""
    at_once = job.chunk or (base.longest if isinstance(base, Encoder) else None)
    if at_once:
        longest = max(TOKENS, 3 * at_once // 2)
    else:
        longest = min(TOKENS, positions_of(job.base) or TOKENS)
    longest = min(longest, job.max_tokens or longest)
    before, after = tokenizer.frame
    rows = base.model.get_input_embeddings().weight
    assert isinstance(rows, Tensor)
    size = min(len(rows), tokenizer.size)
    ids = sorted(set(range(size)) - tokenizer.special)
    draw = random.Random(0)
    lengths = [max(1, longest * (text + 1) // TEXTS - len(before + after)) for text in range(TEXTS)]
    return [[*before, *draw.choices(ids, k=length), *after] for length in lengths]


def _read_back(out: Path, own_code: bool, ids: Tensor, present: Tensor) -> Tensor:
    """The logits of the model in that directory; its code is what is imported here already."""
    loader: Any = AutoModelForSequenceClassification
    if own_code:
        loader = ClinfuseForSequenceClassification
    model = loader.from_pretrained(out, local_files_only=True, dtype=torch.float32).eval()
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids, attention_mask=present.long()).logits
    return logits


if __name__ == "__main__":
    run(ExportJob, main)
