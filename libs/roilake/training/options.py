"""Options of a model, validated: unknown names and bad values are errors that name the option."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from roilake.errors import ConfigError

OptionsT = TypeVar("OptionsT", bound=BaseModel)


class Options(BaseModel):
    """Options of a model; each model's own subclass is named ``Options``. Unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def validated(options: type[OptionsT], kind: str, values: dict[str, Any]) -> OptionsT:
    """The options of a model of this kind. Raises ConfigError that names the first bad one."""
    try:
        return options.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(options.model_fields) or "none"
        raise ConfigError(f"models: {kind}: option {key!r}: {first['msg']} (options: {known})") from error
