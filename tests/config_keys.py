"""Whether a dotted key is one of a configuration: what names keys in words goes stale unseen."""

from __future__ import annotations

from pydantic import BaseModel

from flows.loading import _models_in


def is_key(model: type[BaseModel], key: str) -> bool:
    """Whether the model, or one of a union in it, has that key."""
    name, _, rest = key.partition(".")
    if name.isdecimal():  # an entry of a list
        return is_key(model, rest) if rest else True
    field = model.model_fields.get(name)
    if field is None or not rest:
        return field is not None
    return any(is_key(inner, rest) for inner in _models_in(field.annotation))
