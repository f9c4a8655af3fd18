"""Of which predictions the evidence is gathered: a config, without torch."""

from __future__ import annotations

from pydantic import Field

from tasks.config import Config


class EvidenceConfig(Config):
    """What heads with label-wise attention read, and what taking it out does."""

    labels: int = Field(default=5, ge=1)
    """Of each outcome this many labels: those with the most training cases"""
    admissions: int = Field(default=20, ge=1)
    """Of each label this many test admissions: those that are given the highest probability"""
    words: int = Field(default=10, ge=1)
    """Of each of them this many words: those that get the most attention"""
    draws: int = Field(default=5, ge=1)
    """Random orders of an admission's words, with which the order by attention is compared"""
