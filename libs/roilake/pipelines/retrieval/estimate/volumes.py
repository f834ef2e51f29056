"""How much work the jobs of a night have, from the statistics of tables, without Spark.

w, the work of a job:

==================  ====================================================================================
ingest_events       new events
build_graph         events before a window's start, summed over the night's windows
build_requests      events within the windows
embed_interests     as build_graph
build_rois          requests, and items times windows
train_models        distinct requests of train and validation windows, times models and epochs
evaluate_models     distinct requests of validation and test windows, times models
score_requests      distinct requests to serve
publish_night       none: a fixed time
==================  ====================================================================================
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from roilake.config.base import FileSource
from roilake.ingest.files import find_files
from roilake.lake import DataFile, Lake
from roilake.pipelines.retrieval.config import RetrievalConfig
from roilake.pipelines.retrieval.graph import Window

Floats = NDArray[np.float64]
_SAMPLE_FILES, _SAMPLE = 2, 100_000
_RECENT = 28  # days that tell how many events a day brings
_LINE_SAMPLE = 65_536  # bytes
_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class History:
    """Events up to the end of a night: ``total_N`` of them up to ``day_N`` (days since 1970, ascending). ``new`` are
    the night's own; they are ``known`` once they were ingested."""

    day_N: Floats
    total_N: Floats
    new: float
    known: bool

    @classmethod
    def of(cls, day_N: Floats, count_N: Floats, new: float, *, known: bool) -> History:
        order = np.argsort(day_N, kind="stable")
        return cls(day_N[order], np.cumsum(count_N[order]), new, known)

    @property
    def events(self) -> float:
        return float(self.total_N[-1]) if len(self.total_N) else 0.0

    def between(self, start: date, end: date) -> float:
        return self.before(end) - self.before(start)

    def before(self, end: date) -> float:
        index = int(np.searchsorted(self.day_N, _days(end)))
        return float(self.total_N[index - 1]) if index else 0.0


class Events:
    """What the files of table ``events`` tell without being read whole."""

    def __init__(self, lake: Lake, source: FileSource) -> None:
        files = lake.active_files("events") if lake.exists("events") else []
        self._source = source
        self._rows: dict[date, int] = defaultdict(int)
        for file in files:
            self._rows[date.fromisoformat(file.partition["ds"])] += file.rows
        self._first = min(self._rows, default=date.max)
        self._day_S = _sampled_days([f for f in files if f.partition["ds"] == str(self._first)])

    def until(self, ds: date, earliest: date) -> History:
        """The times of a sample of the first night's events stand for all of them; events of a later night lie within
        it. A night that is not ingested yet brings as many events a day as the last four weeks did. With no event at
        all, the source's rows are taken to lie evenly from ``earliest`` (the first window's start) to the night."""
        later = sorted(night for night in self._rows if self._first < night <= ds)
        if self._first > ds:
            return _from_source(self._source, earliest, ds)
        share = self._rows[self._first] / max(len(self._day_S), 1)
        day = np.concatenate([self._day_S, [_days(night) + 0.5 for night in later]])
        count = np.concatenate([np.full(len(self._day_S), share), [self._rows[night] for night in later]])
        last = later[-1] if later else self._first
        if last == ds:
            return History.of(day, count, float(self._rows[ds]), known=True)
        return _prolonged(day, count, last, ds)


def graph_work(history: History, instants: Sequence[date]) -> float:
    """Events before each instant, summed over instants."""
    return sum(history.before(instant) for instant in instants)


def serve_events(history: History, config: RetrievalConfig, ds: date) -> float:
    """Events of the days whose (user, query) pairs are served."""
    return history.between(ds - timedelta(days=config.scoring.lookback_days - 1), ds + timedelta(days=1))


def events_in(history: History, windows: Sequence[Window], *splits: str) -> float:
    """Events within the windows of these splits."""
    return sum(history.between(w.as_of, w.end) for w in windows if w.split in splits)


def source_rows(source: FileSource) -> float:
    """Rows of a source: of parquet from its footers, else its bytes over the mean length of the first lines. 0 where it
    is remote: that can be told by reading it only. Raises SourceError when a local file is not there."""
    files = find_files(source.path)
    if files is None:
        return 0.0
    if source.format == "parquet":
        return float(sum(pq.read_metadata(path).num_rows for path in files.paths))
    return sum(_lines(Path(path)) for path in files.paths)


def _lines(file: Path) -> float:
    with file.open("rb") as opened:
        head = opened.read(_LINE_SAMPLE)
    return file.stat().st_size * head.count(b"\n") / max(len(head), 1)


def _from_source(source: FileSource, earliest: date, ds: date) -> History:
    rows = source_rows(source)
    day = np.arange(_days(earliest), _days(ds) + 1) + 0.5
    return History.of(day, np.full(len(day), rows / len(day)), rows, known=False)


def _prolonged(day: Floats, count: Floats, last: date, ds: date) -> History:
    recent = day >= _days(last) + 1 - _RECENT
    daily = float(count[recent].sum()) / _RECENT
    more = np.arange(_days(last) + 1, _days(ds) + 1) + 0.5
    days, counts = np.concatenate([day, more]), np.concatenate([count, np.full(len(more), daily)])
    return History.of(days, counts, daily * len(more), known=False)


def _sampled_days(files: Sequence[DataFile]) -> Floats:
    """Times of a few events of the first row group of the first and the last file."""
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(len(files), _SAMPLE_FILES)).astype(int))]
    parts = []
    for file in chosen:
        if file.rows:
            time = pq.ParquetFile(file.path).read_row_group(0, columns=["time"])["time"]
            parts.append(time.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy() / _DAY)
    days = np.concatenate(parts) if parts else np.empty(0)
    return days[:: max(1, len(days) // _SAMPLE)]


def _days(day: date) -> float:
    return float((day - date(1970, 1, 1)).days)
