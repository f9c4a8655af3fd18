"""How hard the generated task is: every parameter, its default, and the reason for it."""

from pydantic import Field

from tasks.config import Config


class Difficulty(Config):
    """The generator's parameters; a default is changed in a separate commit, with its reason."""

    profile_ratio: float = Field(default=25.0, gt=1)
    """How much more common a condition is in its own patient profiles"""
    severity: tuple[float, float, float] = (0.5, 0.33, 0.17)
    """Shares of mild, moderate and severe admissions"""
    acute_by_severity: tuple[float, float, float] = (0.6, 1.1, 2.0)
    """Relative frequency of acute conditions by severity"""
    largest_prior: float = Field(default=0.7, gt=0, lt=1)
    """The largest frequency of a condition in any profile"""
    coded: float = Field(default=0.86, gt=0, lt=1)
    """P(code | condition)"""
    coded_further: float = Field(default=0.6, gt=0, lt=1)
    """P(code | condition) of a condition's second category"""
    miscoded: float = Field(default=0.05, ge=0, lt=1)
    """P(code | no condition), as a share of the label's frequency"""
    without_diagnoses: float = Field(default=0.03, ge=0, lt=1)
    """Share of admissions without any diagnosis row"""
    without_note: float = Field(default=0.05, ge=0, lt=1)
    """Share of admissions without a discharge note"""
    # P(how the admission note mentions a condition | the patient has it); the rest is omitted
    affirmed: float = 0.26
    """P(affirmed | present)"""
    affirmed_with_drug: float = 0.06
    """P(affirmed, and its drug | present)"""
    drug_only: float = 0.08
    """P(only its drug | present)"""
    uncertain: float = 0.06
    """P(written as possible | present)"""
    historical: float = 0.04
    """P(written as past | present)"""
    negated: float = 0.03
    """P(written as absent | present)"""
    relative: float = 0.04
    """P(written about a relative | present)"""
    # mean P(... | the patient does not have it), in proportion to the root of its prevalence
    false_affirmed: float = 0.0008
    """Mean P(affirmed | absent): carried forward"""
    false_drug: float = 0.0016
    """Mean P(only its drug | absent)"""
    false_uncertain: float = 0.0035
    """Mean P(written as possible | absent)"""
    false_historical: float = 0.004
    """Mean P(written as past | absent)"""
    false_negated: float = 0.012
    """Mean P(written as absent | absent)"""
    false_relative: float = 0.005
    """Mean P(written about a relative | absent)"""
    held_out_share: float = Field(default=0.33, ge=0, le=1)
    """Share of held-out forms in admission notes outside train"""
    complaint_own: float = 0.88
    """P(chief complaint is typical of the profile)"""
    finding_own: float = 0.85
    """P(exam finding is typical of the profile)"""
    death_by_severity: tuple[float, float, float] = (0.0005, 0.005, 0.15)
    """P(death | severity alone), at the last admission"""
    further_admission: float = Field(default=0.3, gt=0, lt=1)
    """P(one more admission), at most five"""
