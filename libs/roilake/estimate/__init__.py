"""What a night will cost, before it runs: rows, bytes, memory, minutes and disk of each step."""

from roilake.estimate.plan import Estimate, PlannedStep, estimate_night
from roilake.estimate.rates import Measured, Rate

__all__ = ["Estimate", "Measured", "PlannedStep", "Rate", "estimate_night"]
