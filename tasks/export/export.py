"""Write a member into a folder that others' programs load: without torch, which a child needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks.errors import ConfigError, TrainingError
from tasks.export.card import write_card
from tasks.export.job import Dtype, Exported, ExportJob
from tasks.export.member import Member
from tasks.launch import LaunchConfig, launch
from tasks.store import Store
from tasks.store.folder import PRIVATE

# of an adapter's folder, what makes it a PEFT directory, and the terms that go with it
CONFIG = "adapter_config.json"
_PEFT = (CONFIG, "adapter_model.safetensors", "README.md")


def export(
    store: Store,
    key: str,
    out: Path,
    outcome: str | None = None,
    base: Path | None = None,
    dtype: Dtype = "float32",
) -> Exported:
    """Write `merged/`, `fused/`, `adapters/` and a card into a new folder.

    Args:
        key: of a task-adapter artifact.
        outcome: whose labels the model tells; None: the only one.
        base: where the base lies, if that is not known.
        dtype: of the merged weights on disk.

    Raises StoreError or ConfigError where a part is not there, or `out` is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already; name a new folder")
    member = Member.find(store, key)
    job = member.job(member.outcome(outcome), base, dtype)
    out.parent.mkdir(parents=True, exist_ok=True)
    making = out.parent / f".{out.name}.making"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=PRIVATE)  # weights are as sensitive as notes
    try:
        work = making / "work"
        launch("tasks.export.write", job, work, LaunchConfig(accelerator="cpu"), lambda _: None)
        exported = Exported.model_validate_json((work / "exported.json").read_text())
        shutil.rmtree(work)
        _copy_adapters(job, making / "adapters")
        write_card(making, member, job, exported)
        making.replace(out)
    except TrainingError:  # it names a log in there
        raise
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return exported


def _copy_adapters(job: ExportJob, out: Path) -> None:
    folders = {name: job.adapter(name) for name in job.summands}
    if not job.frozen:
        folders["task"] = job.member
    out.mkdir()
    for name, folder in folders.items():
        for file in _PEFT:
            if (folder / CONFIG).is_file() and (folder / file).is_file():
                (out / name).mkdir(exist_ok=True)
                shutil.copyfile(folder / file, out / name / file)
