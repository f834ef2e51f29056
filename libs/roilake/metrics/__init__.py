"""Exact metrics with n and a 95 % interval, and what a night must keep to. Names are loaded when they are used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roilake.metrics.classification import auc
    from roilake.metrics.intervals import Estimate
    from roilake.metrics.rows import measure_arrays
    from roilake.metrics.table import measure_table
    from roilake.metrics.table_rows import Columns

__all__ = ["Columns", "Estimate", "auc", "measure_arrays", "measure_table"]

_MODULES = {
    "Columns": "table_rows", "Estimate": "intervals", "auc": "classification", "measure_arrays": "rows",
    "measure_table": "table",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Configs and reports read the registry: for them neither numpy nor Spark is loaded."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
