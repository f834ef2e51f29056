"""roilake: every night, from raw events to published recommendations, through regions of interest."""

__version__ = "0.1.0"
