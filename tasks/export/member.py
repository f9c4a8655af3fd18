"""What a member is made of, read from its manifest, and where each part of it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import schemas, tables
from tasks.errors import ConfigError, StoreError
from tasks.export.job import Dtype, ExportJob
from tasks.inspection import check_version, resolve
from tasks.keys import fingerprint
from tasks.runs import load_runs
from tasks.store import Manifest, Store

KIND = "task-adapter"


@dataclass(frozen=True)
class Member:
    """A trained member in a store."""

    store: Store
    manifest: Manifest

    @classmethod
    def find(cls, store: Store, key: str) -> Member:
        """The member of that key, or of a key that begins so. Raises StoreError: there is none."""
        manifest = resolve(store, key)
        if manifest.kind != KIND:
            raise StoreError(
                f"{manifest.kind}/{manifest.key} is no trained member; give the key of a {KIND}, "
                f"`clinfuse ls --kind {KIND}` shows them"
            )
        check_version(manifest)
        _check(store, manifest.kind, manifest.key)
        return cls(store, manifest)

    @property
    def name(self) -> str:
        name: str = self._job["member"]
        return name

    @property
    def artifact(self) -> str:
        return f"{self.manifest.kind}/{self.manifest.key}"

    @property
    def folder(self) -> Path:
        return self.store.path(self.manifest.kind, self.manifest.key)

    @property
    def summands(self) -> dict[str, Any]:
        """The adapters beside the task adapter as the manifest names them, in their order."""
        # a manifest's mappings are sorted; the order of a sum changes nothing but roundings
        return dict(self._job.get("summands", {}))

    @property
    def weights(self) -> dict[str, float]:
        """How many times each summand is added."""
        given: Mapping[str, float] = self._job.get("weights", {})
        return {name: given.get(name, 1.0) for name in self.summands}

    def made_from(self, summand: str) -> str:
        """kind/key of a summand."""
        path = self._part(self.summands[summand])
        return f"{path.parent.name}/{path.name}"

    @property
    def precision(self) -> str:
        """In what it computes, as `TrainingConfig.precision` has it."""
        precision: str = self._job["config"]["training"]["precision"]
        return precision

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The names of what it predicts."""
        return tuple(self._job["outcomes"])

    def outcome_folder(self, outcome: str) -> Path:
        """Where that outcome of it is in the store. Raises StoreError where it is gone."""
        return self._part(self._job["outcomes"][outcome])

    @property
    def encoded(self) -> Manifest | None:
        """The manifest of its notes' token ids; None: it is gone."""
        for made_from in self.manifest.inputs:
            if made_from.kind == "encoded":
                return self.store.manifest(made_from.kind, made_from.key)
        return None

    def outcome(self, asked: str | None) -> str:
        """The outcome of that name, or the only one. Raises ConfigError: which is not clear."""
        names = self.outcomes
        asked = names[0] if asked is None and len(names) == 1 else asked
        if asked in names:
            return asked
        what = f"has no outcome '{asked}'"
        if asked is None:
            what = f"has {len(names)} outcomes, and a model tells the labels of one"
        raise ConfigError(f"{self.artifact} {what}; --outcome takes {', '.join(names)}")

    def job(self, outcome: str, base: Path | None, dtype: Dtype) -> ExportJob:
        """All that is needed to write it.

        Args:
            base: where the base is, if it is no artifact; None: where the run that used it did.

        Raises StoreError or ConfigError where a part is gone.
        """
        described = self._job
        if "sha256" in described["base"]:
            base = self._given_base(described["base"]["sha256"], base)
        else:
            base = self._part(described["base"])
        given = described["tokenizer"]
        labels, one_of = self._labels(described["outcomes"][outcome])
        return ExportJob(
            base=base,
            layer=described.get("layer"),
            words=described.get("words", False),
            chunk=described.get("chunk"),
            summands={name: self._part(part) for name, part in self.summands.items()},
            weights=described.get("weights", {}),
            fusions={
                **described.get("fusions", {}),
                **dict.fromkeys(described.get("trained", ()), "trained"),
            },
            member=self.folder,
            frozen=described["config"]["adapter"] is None,
            tokenizer=base if "sha256" in given else self._part(given),
            max_tokens=self._of_encoded("max_tokens"),
            tail_tokens=self._of_encoded("tail_tokens") or 0,
            outcome=outcome,
            labels=labels,
            one_of=one_of,
            dtype=dtype,
        )

    @property
    def _job(self) -> dict[str, Any]:
        job: dict[str, Any] = self.manifest.config["job"]
        return job

    def _part(self, described: Mapping[str, str]) -> Path:
        """The folder of an artifact that the member was made from."""
        for made_from in self.manifest.inputs:
            if (made_from.kind, made_from.digest) == (described["artifact"], described["digest"]):
                _check(self.store, made_from.kind, made_from.key, made_from.digest)
                return self.store.path(made_from.kind, made_from.key)
        raise StoreError(
            f"the manifest of {self.artifact} does not name its {described['artifact']}"
        )

    def _given_base(self, sha256: str, base: Path | None) -> Path:
        """A base that lies outside of the store."""
        candidates = [base] if base else list(self._bases_of_runs())
        for path in candidates:
            if path.is_dir() and fingerprint(path, self.store.fingerprints) == sha256:
                return path
        where = f"{base} is not the base" if base else "it is not known where the base lies"
        raise ConfigError(
            f"{where} that {self.artifact} was trained on; name its folder with --base"
        )

    def _bases_of_runs(self) -> Iterator[Path]:
        """Where the runs that reached this member had their base."""
        for run in reversed(load_runs(self.store.root)):
            reached = {(artifact.kind, artifact.key) for artifact in run.artifacts}
            if (self.manifest.kind, self.manifest.key) in reached:
                yield from _bases_in(run.parameters)

    def _of_encoded(self, key: str) -> Any:
        """A setting by which the notes were encoded; None: it is not set, or is not known."""
        return self.encoded.config.get(key) if self.encoded else None

    def _labels(self, described: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
        """The name of each label, and whether they are classes."""
        table = tables.read(self._part(described) / "labels", schemas.LABELS).sort_by("index")
        return label_names(table.to_pylist()), any(table["one_of"].to_pylist())


def label_names(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """A code and its title for each label; V10 of ICD-9 and of ICD-10 are told apart.

    >>> rows = [("icd10cm", "I50", "Heart failure"), ("icd9cm", "V10", None)]
    >>> rows += [("icd10cm", "V10", "Cyclist injured")]
    >>> label_names([dict(zip(("code_system", "code", "title"), row)) for row in rows])
    ('I50 Heart failure', 'V10 (icd9cm)', 'V10 (icd10cm) Cyclist injured')
    """
    systems = Counter(row["code"] for row in rows)  # how many have a code of that name
    names = []
    for row in rows:
        system = f"({row['code_system']})" if systems[row["code"]] > 1 else None
        names.append(" ".join(filter(None, (row["code"], system, row["title"]))))
    return tuple(names)


def _bases_in(parameters: Any) -> Iterator[Path]:
    """The folders of all bases in a run's parameters, however deep they stand."""
    match parameters:
        case {"base": {"kind": "path", "path": str(path)}}:
            yield Path(path)
        case {"base": {"kind": "hub", "id": str(name), "revision": str(revision)}}:
            yield _in_the_cache(name, revision)
    if isinstance(parameters, Mapping):
        for value in parameters.values():
            yield from _bases_in(value)
    elif isinstance(parameters, list):
        for value in parameters:
            yield from _bases_in(value)


def _in_the_cache(name: str, revision: str) -> Path:
    """Where the hub's own library keeps a snapshot; nothing is downloaded."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots" / revision


def _check(store: Store, kind: str, key: str, digest: str | None = None) -> None:
    artifact, problem = store.examine(kind, key)
    if problem:
        raise StoreError(f"{kind}/{key} is damaged ({problem}); run again to make it anew")
    if artifact is None or digest not in (None, artifact.digest):
        raise StoreError(f"{kind}/{key} is gone, or made anew since; run again to make both")
