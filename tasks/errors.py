"""The errors that a user can act on: what, where, what to do.

A message never holds a note's text nor a patient's, an admission's or a note's identifier: it may end up in Prefect's
database or a terminal.
"""


class ClinfuseError(Exception):
    """One clear sentence for the user; the border of a step lets it pass as it is."""


class ConfigError(ClinfuseError):
    """A configuration key, value or file is wrong."""


class SourceError(ClinfuseError):
    """A source table is missing, unreadable, truncated, or too bad to go on with."""


class StoreError(ClinfuseError):
    """The store cannot be read or written, or an artifact in it is damaged."""


class ModelError(ClinfuseError):
    """A base model, tokenizer or adapter cannot be loaded, or does not fit."""


class TrainingError(ClinfuseError):
    """A training program stopped, its ranks died, or its run collapsed."""


class EvaluationError(ClinfuseError):
    """Predictions and outcomes do not fit together, or a metric cannot be computed."""


class StepFailed(ClinfuseError):
    """An unexpected exception inside a step, without its message, which may quote a patient."""

    def __init__(self, kind: str, exception: str, place: str) -> None:
        self.kind, self.exception, self.place = kind, exception, place
        super().__init__(
            f"step '{kind}' stopped with {exception} at {place}; "
            "the message is withheld because it may quote a note"
        )

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return StepFailed, (self.kind, self.exception, self.place)
