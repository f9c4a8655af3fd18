"""What the rows of a source table must obey besides their columns' types."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tasks.ingest.reader import Rule


def clean(codes: pa.ChunkedArray) -> pa.ChunkedArray:
    """ICD codes as letters and digits only, in upper case: " 250.00 " becomes "25000"."""
    return pc.utf8_upper(pc.replace_substring_regex(codes, "[^0-9A-Za-z]", ""))


def _is_no_version(table: pa.Table) -> pa.ChunkedArray:
    versions = table["icd_version"]
    return pc.invert(pc.is_in(versions, pa.array([9, 10], versions.type)))


def _is_no_flag(table: pa.Table) -> pa.ChunkedArray:
    flags = table["hospital_expire_flag"]
    return pc.and_not(flags.is_valid(), pc.is_in(flags, pa.array([0, 1], flags.type)))


VERSION = Rule("icd_version", "is neither 9 nor 10", _is_no_version)
CODE = Rule("icd_code", "is blank", lambda table: pc.equal(clean(table["icd_code"]), ""))
FLAG = Rule("hospital_expire_flag", "is neither 0 nor 1", _is_no_flag)
