"""Artifacts on disk: folders with manifests, found, made under a lock, and renamed into place."""

from tasks.store.artifacts import SCRATCH, Store
from tasks.store.manifest import MANIFEST, RECORD, File, Input, Manifest

__all__ = ["MANIFEST", "RECORD", "SCRATCH", "File", "Input", "Manifest", "Store"]
