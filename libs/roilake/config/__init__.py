"""What a night does, as one frozen, validated tree read from YAML. Each pipeline has its own."""

from roilake.config.base import Bound, FileSource, GatesConfig, IntakeConfig, ModelConfig, NightConfig, Strict
from roilake.config.loading import load_gates, read_mapping, validated

__all__ = [
    "Bound",
    "FileSource",
    "GatesConfig",
    "IntakeConfig",
    "ModelConfig",
    "NightConfig",
    "Strict",
    "load_gates",
    "read_mapping",
    "validated",
]
