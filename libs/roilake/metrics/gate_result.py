"""What a gate found: one line of the audit, one row of table ``gates``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import pyarrow as pa

from roilake.metrics.slices import ALL


@dataclass(frozen=True)
class GateResult:
    """``gate`` names the check. A gate of a metric also has metric, model, split and slice, the ``bound`` in words, and
    the value with its 95 % interval (None where not defined); one of tables has only what it counted, if anything.
    ``detail`` says why it failed, or adds a remark."""

    gate: str
    passed: bool
    detail: str = ""
    metric: str = ""
    model: str = ""
    split: str = ""
    slice: str = ""
    bound: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def line(self) -> str:
        """All of it in one line."""
        if not self.metric:
            return f"{self.gate}: {self.detail}" if self.detail else self.gate
        where = "" if self.slice == ALL else f" on {self.slice}"
        found = describe(self.value, self.low, self.high)
        sentence = f"{self.split} {self.metric} of {self.model}{where} is {found}, must be {self.bound}"
        return f"{self.gate}: {sentence}{'; ' if self.detail else ''}{self.detail}"


def result_of(gate: str, faults: Iterable[str], shown: int | None = None) -> GateResult:
    """A check of tables that passes without faults; the first ``shown`` of them are listed."""
    found = list(faults)
    more = ", ..." if shown and len(found) > shown else ""
    return GateResult(gate, not found, "; ".join(found[:shown]) + more)


def describe(value: float | None, low: float | None, high: float | None) -> str:
    """``0.8312 [0.8104, 0.8520]``; ``undefined`` without a value."""
    if value is None:
        return "undefined"
    interval = "" if low is None or high is None else f" [{low:.4f}, {high:.4f}]"
    return f"{value:.4f}{interval}"


def to_table(results: Sequence[GateResult], ds: date, run: str) -> pa.Table:
    """Rows of table ``gates``."""
    return pa.Table.from_pylist([{"ds": ds, "run": run, **asdict(result)} for result in results])
