"""The memory audit as a Markdown page, and as a table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tasks.audit.remembered import Memory
from tasks.measures.intervals import Interval

_METHOD = """\
An adapter was trained for this audit alone: it is no part of any model that ships. Among the \
notes of {patients} training patients stood made-up notes with a random number each, planted once \
or several times ({planted} planted notes). It was trained for {epochs:g} passes with the settings \
of this configuration, so a number was read as often as it was planted, times the passes.

**Exposure.** Each planted number is ranked by its likelihood among {alternatives:,} numbers that \
were never planted: exposure = log2({alternatives:,} + 1) - log2(rank), at most {most:.1f}, and on \
average {chance:.2f} where nothing is remembered. Means with 95% intervals over the canaries. \
**First** counts those that are likelier than every alternative: whoever tries all numbers finds \
these.

**Membership.** Notes of training patients against notes of validation patients, ranked by what \
the model finds likely: the AUROC, 0.5 where they cannot be told apart, with its 95% interval \
clustered by patient. The base has read neither, and is the control, whose p is not corrected.

The sentence above says that something is remembered where p is below 0.05 after Holm's correction \
over all rows but the control.

What it does not say: an attacker who knows more may find more; a note that stands in the source \
many times is remembered more than one that stands there once; and none of this measures what a \
model says when it is asked freely.
"""


def sentence(memory: Memory) -> str:
    """One line that a data-protection officer can read."""
    exposed, told = memory.remembers
    most = max(memory.exposures, key=lambda exposure: exposure.after.value)
    best = max(memory.memberships[1:], key=lambda membership: membership.auroc.value)
    finding = {
        (False, False): "No memory of single notes was found in this adapter",
        (True, False): "This adapter remembers numbers from notes that it was trained on",
        (False, True): "This adapter gives away whose notes it was trained on",
        (True, True): "This adapter remembers numbers from notes that it was trained on, and gives "
        "away whose notes these were",
    }[exposed, told]
    advice = (
        "treat its weights as you treat the notes"
        if exposed or told
        else "which does not prove that there is none"
    )
    times = "once" if most.repeats == 1 else f"{most.repeats} times"
    return (
        f"{finding} ({advice}): of {most.canaries} made-up numbers planted {times}, {most.first} "
        f"came out ahead of {memory.alternatives:,} others, and a training patient's note is told "
        f"from another patient's with an AUROC of {_figure(best.auroc)}, where 0.5 is guessing."
    )


def report(memory: Memory, training: Mapping[str, Any]) -> str:
    """The page as Markdown: aggregates alone.

    Args:
        training: patients, epochs and planted notes of the audited training.
    """
    most = math.log2(memory.alternatives + 1)
    facts = {"alternatives": memory.alternatives, "most": most, "chance": memory.chance}
    exposures = [
        f"| {exposure.repeats} | {exposure.canaries} | {_figure(exposure.before, '.2f')} | "
        f"{_figure(exposure.after, '.2f')} | {exposure.p_value:.3f} | {exposure.first} |"
        for exposure in memory.exposures
    ]
    memberships = [
        f"| {membership.by} | {_figure(membership.auroc)} | {membership.p_value:.3f} | "
        f"{membership.members:,} | "
        f"{membership.others:,} | {membership.patients:,} |"
        for membership in memory.memberships
    ]
    parts = [
        "# Memory audit",
        f"**{sentence(memory)}**",
        _METHOD.format(**facts, **training),
        "## Exposure of planted numbers",
        "| planted | canaries | the base | with the adapter | p (Holm) | first |\n"
        "|---:|---:|---|---|---:|---:|\n" + "\n".join(exposures),
        "## Membership",
        "| ranked by | AUROC | p (Holm) | training notes | validation notes | patients |\n"
        "|---|---|---:|---:|---:|---:|\n" + "\n".join(memberships),
    ]
    return "\n\n".join(parts) + "\n"


def overview(memory: Memory) -> list[dict[str, str]]:
    """A row a question."""
    rows = [
        {
            "asked": f"exposure, planted {exposure.repeats} x",
            "base": f"{exposure.before.value:.2f}",
            "adapter": f"{exposure.after.value:.2f}",
            "95% interval": _ends(exposure.after, ".2f"),
            "chance": f"{memory.chance:.2f}",
        }
        for exposure in memory.exposures
    ]
    control = memory.memberships[0].auroc
    return rows + [
        {
            "asked": f"membership, {membership.by}",
            "base": f"{control.value:.3f}",
            "adapter": f"{membership.auroc.value:.3f}",
            "95% interval": _ends(membership.auroc, ".3f"),
            "chance": "0.500",
        }
        for membership in memory.memberships[1:]
    ]


def _figure(value: Interval, form: str = ".3f") -> str:
    return f"{value.value:{form}} ({_ends(value, form)})"


def _ends(value: Interval, form: str) -> str:
    if math.isnan(value.low):
        return "interval withheld"
    return f"{value.low:{form}} to {value.high:{form}}"
