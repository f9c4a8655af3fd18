"""What is measured on the test split."""

from pathlib import Path

from pydantic import Field

from tasks.config import Config


class EvaluateConfig(Config):
    """What is measured on the test split."""

    truth: Path | None = None
    """truth.parquet of the synthetic generator, with the best reachable prediction (p_best) of
    every label. Leave empty for real data"""
    subgroups: bool = True
    """Measure AUROC by sex, age band, race, insurance, language and admission type. Turn off where
    these columns mean nothing (CodiEsp: hashes)"""
    smallest_cell: int = Field(default=10, ge=1)
    """Print no count of fewer patients or cases than this: a smaller subgroup joins 'other', a
    smaller count is printed as '<10', and a count from which it could be subtracted is withheld"""
    bootstrap_draws: int = Field(default=0, ge=0)
    """Check the interval of the first variant's macro AUROC with a cluster bootstrap of this many
    draws; 1000 take 20 s of a core for 1,266 labels of 9,829 admissions. 0: no check"""
