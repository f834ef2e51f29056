"""What a night does, as one frozen, validated tree read from YAML: a file per kind of night."""

from roilake.config.base import Bound, FileSource, GatesConfig, ModelConfig, Night
from roilake.config.conversions import ConversionsConfig
from roilake.config.graph import (
    AttributeSource,
    EdgeType,
    EvaluationConfig,
    GraphModelConfig,
    Hops,
    NightConfig,
    RoiConfig,
    SimilarityConfig,
    SliceConfig,
    SourceConfig,
    TrainingConfig,
    WindowsConfig,
)
from roilake.config.loading import load_config, load_gates

__all__ = [
    "AttributeSource",
    "Bound",
    "ConversionsConfig",
    "EdgeType",
    "EvaluationConfig",
    "FileSource",
    "GatesConfig",
    "GraphModelConfig",
    "Hops",
    "ModelConfig",
    "Night",
    "NightConfig",
    "RoiConfig",
    "SimilarityConfig",
    "SliceConfig",
    "SourceConfig",
    "TrainingConfig",
    "WindowsConfig",
    "load_config",
    "load_gates",
]
