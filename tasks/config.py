"""The two kinds of configuration model: those that are part of an artifact's key, and others."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _in_one_line(schema: dict[str, Any]) -> None:
    """In forms a description is one line, however its docstring is wrapped."""
    for field in schema.get("properties", {}).values():
        if "description" in field:
            field["description"] = " ".join(field["description"].split())


class Config(BaseModel):
    """A frozen configuration that refuses unknown keys; its values are part of an artifact's key.

    Tuples, never sets: a set's order differs between processes, and so would the key. The docstring
    below a field is its description.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra=_in_one_line,
    )


class Unkeyed(Config):
    """A configuration of how a step runs, not of what it makes; it is not part of the key."""


def kind_or(default: str | None) -> BeforeValidator:
    """Of a union of kinds: `view: full` is short for `view: {kind: full}`; a default may be given.

    It stands beside the union's discriminator.
    """

    def with_kind(given: Any) -> Any:
        if isinstance(given, str):
            return {"kind": given}
        return {"kind": default, **given} if default and isinstance(given, dict) else given

    return BeforeValidator(with_kind)


KIND_ALONE = kind_or(None)
