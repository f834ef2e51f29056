"""What a conversion night's config must keep to, beyond what its types say."""

from __future__ import annotations

from roilake.errors import ConfigError
from roilake.pipelines.conversion import models
from roilake.pipelines.conversion.config import ConversionConfig


def check(config: ConversionConfig) -> None:
    """Raises ConfigError, as ``ConversionConfig.check`` says."""
    both = [name for name in config.teachers if name in config.models]
    if both:
        raise ConfigError(f"teachers: {both[0]!r} is the name of a model, too: give it another")
    teachers = ", ".join((*config.teachers, *config.ensembles)) or "none yet"
    for name, teacher in config.teachers.items():
        if models.needs_teacher(teacher.kind, dict(teacher.options)) or teacher.teacher:
            raise ConfigError(f"teachers.{name}: a teacher has no teacher: choose a kind that learns from clicks")
    for name, model in config.models.items():
        if models.needs_teacher(model.kind, dict(model.options)) and model.teacher is None:
            raise ConfigError(
                f"models.{name}: kind {model.kind!r} learns from pseudo-labels; name its teacher, one of teachers "
                f"({teachers})"
            )
        if model.teacher and not models.needs_teacher(model.kind, {}):
            raise ConfigError(f"models.{name}: kind {model.kind!r} takes no teacher; remove teacher: {model.teacher}")
