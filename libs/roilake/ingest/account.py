"""What became of every row of every source, counted, and the shares of them that a night may lose.

Of each source ``rows = taken + rejected + later + left out``, each counted once: ``taken`` are sound, ``rejected`` ones
lie in ``quarantine`` by reason, ``later`` ones are from after the night's end, and the others are left out by the
reason why the night does not look at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from roilake.config.base import IntakeConfig
from roilake.errors import AuditError
from roilake.ingest.rows import LATER
from roilake.ingest.sources import CORRUPT, SourceRows
from roilake.lake.session import cached
from roilake.runtime.step import Recorder


@dataclass
class SourceAccount:
    """Counts of one source's rows."""

    taken: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    later: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        return self.taken + self.rejected.total() + self.later + self.left_out.total()

    def described(self) -> dict[str, Any]:
        """As the run's details hold it."""
        return {
            "rows": self.rows,
            "taken": self.taken,
            "rejected": dict(sorted(self.rejected.items())),
            "later": self.later,
            "left_out": dict(sorted(self.left_out.items())),
        }


@dataclass(frozen=True)
class Budget:
    """What the config's ``section`` allows; ``paths`` name the files of each source."""

    section: str
    allowed: IntakeConfig
    paths: Mapping[str, str]

    def check(self, name: str, found: SourceAccount) -> None:
        """Raises AuditError when more than the allowed share of a source's rows is rejected, or later than the
        night."""
        where = f"{self.section}.{name} ({self.paths[name]})" if name in self.paths else f"{self.section}.{name}"
        looked_at, rejected = found.taken + found.rejected.total(), found.rejected.total()
        if rejected > self.allowed.quarantine_budget * looked_at:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(found.rejected.items()))
            raise AuditError(
                f"{where}: {rejected} of {looked_at} rows were rejected ({reasons}), above {self.section}."
                f"quarantine_budget {self.allowed.quarantine_budget:g}; look at table quarantine, mend the source or "
                "raise it"
            )
        if found.later > self.allowed.later_budget * found.rows:
            raise AuditError(
                f"{where}: {found.later} of {found.rows} rows are later than the night, above {self.section}."
                f"later_budget {self.allowed.later_budget:g}; are times in milliseconds, or of another format? "
                "If they are right, choose a later --ds or raise it"
            )


@contextmanager
def accounted(
    record: Recorder, rows: DataFrame, budget: Budget, parsed: Mapping[str, int] | None = None
) -> Iterator[DataFrame]:
    """The sound ones of the rows that ``take`` gave, cached while the block lasts, when all are counted and the
    rejected ones written to ``quarantine``. ``parsed``: how many rows of a source are sound that ``rows`` does not
    hold. Raises AuditError, after writing, when a source loses more rows than the budget allows."""
    with cached(rows) as rows:
        accounts = _count(rows, parsed or {})
        totals = SourceAccount(
            sum(account.taken for name, account in accounts.items() if name not in (parsed or {})),
            sum((account.rejected for account in accounts.values()), Counter()),
            sum(account.later for account in accounts.values()),
            sum((account.left_out for account in accounts.values()), Counter()),
        )
        record.rows_later, record.rows_quarantined = totals.later, totals.rejected.total()
        record.rows_in = totals.rows - totals.left_out.total()
        record.details |= {name: totals.described()[name] for name in ("rejected", "left_out")}
        _note(record, accounts)
        _quarantine(record, rows)
        for name, account in accounts.items():
            budget.check(name, account)
        yield rows.where(F.col("reason").isNull() & F.col("left_out").isNull())


def _note(record: Recorder, accounts: Mapping[str, SourceAccount]) -> None:
    """Keep the accounts of sources in the run's details, and tell them."""
    kept = record.details.setdefault("sources", {})
    for name, account in accounts.items():
        kept[name] = account.described()
        others = [*account.rejected.items(), (LATER, account.later), *account.left_out.items()]
        counts = [("taken", account.taken), *((why, count) for why, count in others if count)]
        record.progress(f"{name}: " + "; ".join(f"{count:,} {why}" for why, count in counts))


def count_parsed(source: SourceRows) -> int:
    """How many rows of a source parse."""
    first = F.first(F.col(f"`{source.columns[0]}`"))  # Spark refuses to read what does not parse alone
    found = source.rows.agg((F.count(F.lit(1)) - F.count(CORRUPT)).alias("parsed"), first).first()
    return int(found["parsed"]) if found else 0


def count_keys(record: Recorder, rows: DataFrame, kinds: Sequence[str], minimum: int) -> None:
    """Note about how many different keys of each kind the rows have (some percent off at most), for the audit, which
    asks for ``minimum``."""
    found = rows.agg(F.count(F.lit(1)).alias("rows"), *(F.approx_count_distinct(kind).alias(kind) for kind in kinds))
    record.details["keys"] = {**found.collect()[0].asDict(), "minimum": minimum}


def _count(rows: DataFrame, parsed: Mapping[str, int]) -> dict[str, SourceAccount]:
    """Accounts by source, in order of the name."""
    accounts = {name: SourceAccount(taken=count) for name, count in parsed.items()}
    for name, reason, why, count in rows.groupBy("source", "reason", "left_out").count().collect():
        account = accounts.setdefault(name, SourceAccount())
        if why == LATER:
            account.later += count
        elif why is not None:
            account.left_out[why] += count
        elif reason is not None:
            account.rejected[reason] += count
        else:
            account.taken += count
    return dict(sorted(accounts.items()))


def _quarantine(record: Recorder, rows: DataFrame) -> None:
    if record.rows_quarantined or record.lake.exists("quarantine"):
        step, ds = F.lit(record.run.step).alias("step"), F.lit(record.run.ds).alias("ds")
        rejected = rows.where(F.col("reason").isNotNull() & F.col("left_out").isNull())
        bad = rejected.select(ds, step, "source", "row_id", "row", "reason")
        record.write("quarantine", bad.coalesce(1), step=record.run.step)
