"""What an outcome is, in a sentence, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VERSIONS = {
    "both": "ICD-9 and ICD-10, each in its own label space",
    "9": "ICD-9",
    "10": "ICD-10",
    "mapped": "ICD-9 mapped forward to ICD-10",
}
_GROUPS = {
    "category": "grouped by category",
    "full": "as whole codes",
    "ccs": "grouped by HCUP's Clinical Classifications Software",
    "file": "grouped by a table of the authors'",
}


def definition(outcome: Mapping[str, Any]) -> str:
    """What is predicted, by the outcome's kind in the configuration.

    >>> definition({"kind": "readmission", "days": 30})
    'another admission within 30 days of leaving the hospital alive'
    """
    match outcome["kind"]:
        case "diagnoses" | "procedures" as kind:
            versions = _VERSIONS.get(str(outcome.get("icd_versions")), "ICD")
            groups = _GROUPS.get(str(outcome.get("grouping")), "")
            least = outcome.get("min_count")
            codes = f"every {kind[:-1] if kind == 'procedures' else 'diagnosis'} code of the stay"
            words = ", ".join(part for part in (f"{codes}: {versions}", groups) if part)
            return f"{words}, of codes in at least {least} training admissions" if least else words
        case "labels":
            return "labels beside the texts, in a table of the authors', who must define them"
        case "mortality":
            return "death in the hospital; notes that already tell of it are left out"
        case "length_of_stay":
            return (
                "length of stay in four classes (up to 3 days, 7 days, 14 days, longer); "
                "deaths in the hospital are left out"
            )
        case "ventilation":
            return (
                "invasive ventilation of the first intensive-care stay for 7 days or more, among "
                "those ventilated for 2"
            )
        case "death_after_discharge":
            return f"death within {_days(outcome)} of leaving the hospital alive"
        case "readmission":
            return f"another admission within {_days(outcome)} of leaving the hospital alive"
        case _:
            return "an outcome from a file of the authors', whose definition they must give"


def prediction_time(outcome: Mapping[str, Any]) -> str:
    """When the prediction is made.

    >>> prediction_time({"predict_at": 24}), prediction_time({"predict_at": "discharge"})
    ('24 hours after admission', 'at discharge')
    """
    match outcome.get("predict_at", "admission"):
        case "discharge" if outcome.get("kind") == "labels":
            return "when the text is written"
        case "admission" | "discharge" as when:
            return f"at {when}"
        case hours:
            return f"{hours:g} hours after admission"


def view_words(view: Any, source: Any = None) -> str | None:
    """The text that predictions are made from; None where the configuration does not say.

    Args:
        source: where the notes are from, as configured: MIMIC's folder, or a mapping with its kind.
    """
    match view, source:
        case {"kind": "full"}, {"kind": "table"}:
            return "the whole text"
        case {"kind": "full"}, {"kind": "omop"}:
            return "the whole of the stay's notes of the chosen kinds"
        case {"kind": "early", "before_hours": hours}, _:
            return f"the notes of the admission's first {hours:g} hours"
    match view:
        case {"kind": "admission"}:
            return (
                "the sections of the discharge summary that are known at admission (chief "
                "complaint, present illness, medical history, medication on admission, allergies, "
                "physical exam, family and social history)"
            )
        case {"kind": "full"}:
            return "the whole discharge summary"
        case {"kind": "radiology", "before_hours": hours}:
            return f"the radiology reports of the first {hours:g} hours"
        case _:
            return None


def _days(outcome: Mapping[str, Any]) -> str:
    return f"{outcome['days']} days" if "days" in outcome else "some days"
