"""roilake: an offline suite that turns a night's raw events into published recommendations, through regions of interest."""

__version__ = "0.1.0"
