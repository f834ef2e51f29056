"""Errors that a person can mend: one line that names file, row or key, and what to do. Commands print them bare."""

from __future__ import annotations

FAILED_AUDIT, MENDABLE, UNFORESEEN = 1, 2, 3


class RoilakeError(Exception):
    """Base of all errors whose message is meant for the person who runs a job."""


class ConfigError(RoilakeError):
    """A config file is missing, malformed, or holds an unknown or ill-typed key."""


class SourceError(RoilakeError):
    """Raw data is missing or lacks a mapped column."""


class LakeError(RoilakeError):
    """The lake is no lake, of another layout version, or lacks what was asked of it."""


class AuditError(RoilakeError):
    """A night's tables failed a check, so nothing is published."""


class MetricError(RoilakeError):
    """Scores, labels or ranks on which no metric is defined: NaN, a label that is not 0 or 1, a duplicate."""
