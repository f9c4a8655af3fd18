"""Note views: which notes of an admission are read, and the text that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.ingest.config import AdmissionView, EarlyView, RadiologyView, View
from tasks.ingest.sections import admission_note, sections_of
from tasks.ingest.times import day_over

SUMMARY = "DS"  # note_type of a discharge summary; AD is an addendum to one


@dataclass(frozen=True)
class NoteView:
    """What a view takes from a note, and how an admission's notes become one text."""

    config: View

    @property
    def table(self) -> Literal["discharge", "radiology"]:
        """The notes that are read."""
        return "radiology" if isinstance(self.config, RadiologyView) else "discharge"

    @property
    def nothing_said(self) -> str:
        """Why an admission whose notes give no text is left out."""
        if isinstance(self.config, AdmissionView):
            return "no chief complaint, present illness or history"
        return "an empty note"

    @property
    def no_note(self) -> str:
        """Why an admission without a note of this view is left out."""
        if isinstance(self.config, RadiologyView):
            return f"no radiology report before {self.config.before_hours:g} hours"
        if isinstance(self.config, EarlyView):
            return f"no note before {self.config.before_hours:g} hours"
        return "no discharge note"

    def in_time(
        self,
        admitted: NDArray[np.datetime64],
        taken: NDArray[np.datetime64],
        stored: NDArray[np.datetime64],
    ) -> NDArray[np.bool_]:
        """Whether each note is known early enough [notes]; false for one without any time."""
        if not isinstance(self.config, RadiologyView | EarlyView):
            return np.ones(len(admitted), bool)
        known = np.where(np.isnat(stored), taken, stored)
        if isinstance(self.config, EarlyView):
            known = day_over(known)
        limit = np.timedelta64(round(self.config.before_hours * 3600), "s")
        return known - admitted <= limit

    def read(self, text: str) -> Any:
        """What to keep of a note until the admission's others have been read."""
        return sections_of(text) if isinstance(self.config, AdmissionView) else text.strip()

    def join(self, notes: Sequence[Any]) -> str:
        """The admission's text from what `read` kept of its notes, in their order; "" if empty."""
        if isinstance(self.config, AdmissionView):
            return admission_note(notes)
        return "\n\n".join(filter(None, dict.fromkeys(notes)))
