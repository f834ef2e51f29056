"""Sums of pairs that a night leaves for the next ones, which then count their own events only.

A segment is what one build has summed up of some files of events: its runs by stream, and under ``seen`` the keys of
those events. The first segment, the base, is one run a part, and tells into which parts all of them are cut; later ones
are a night's few each, until they make up a quarter of it and a build compacts all into a new base. ``kept.json`` names
the segments. All of it can be made again: without it a build counts all events, to the same bits.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from roilake.errors import RoilakeError
from roilake.lake import DataFile, Lake
from roilake.pipelines.retrieval.graph.plan import STREAMS, Plan, Runs, TimeCuts
from roilake.pipelines.retrieval.graph.spill import LEFT_OUT, files_of

SEEN = "seen"
_FORMAT = 1
_INDEX = "kept.json"
_GROWTH = 2  # wanted over kept parts, above which all events are summed up again
_COMPACT = 0.25  # events beside the base, as a share of its own, above which all sums are compacted
_PART_BYTES = 320_000_000  # runs of a part (untimed) that no task should have to hold


class StaleSumsError(RoilakeError):
    """IncrementalAggregates sums do not fit the night after all: it has to sum up all events."""


@dataclass(frozen=True)
class Snapshot:
    """``files`` of events, by their paths in the table. ``nodes``, ``keys``: the number of ids of each type that its
    build knew, and the digest of their keys. ``cuts``, ``period``, ``first``: see ``TimeCuts``.
    ``bytes``: of all its files."""

    name: str
    ds: str
    files: tuple[str, ...]
    events: int
    nodes: dict[str, int]
    keys: str
    cuts: tuple[int, ...]
    period: int
    first: int
    bytes: int

    @property
    def time_cuts(self) -> TimeCuts:
        return TimeCuts(np.array(self.cuts, np.int64), self.period, self.first)


@dataclass(frozen=True)
class IncrementalAggregates:
    """Segments in ``folder``, the base first. ``parts``: into how many all are cut; ``timed``: see ``Plan``; ``last``:
    no later night has left any."""

    folder: Path
    parts: int = 0
    timed: bool = False
    segments: tuple[Snapshot, ...] = ()
    last: bool = True

    @classmethod
    def of(cls, lake: Lake) -> IncrementalAggregates:
        """What is kept in a lake. No segments where there is no index, or none that can be read, or one of another
        format."""
        folder = lake.folder / "_work" / "graph_sums"
        try:
            found = json.loads((folder / _INDEX).read_text())
            segments = tuple(
                Snapshot(**{**some, "files": tuple(some["files"]), "cuts": tuple(some["cuts"])})
                for some in found["segments"]
            )
            known = found["format"] == _FORMAT
            return cls(folder, found["parts"], found["timed"], segments) if known else cls(folder)
        except (OSError, ValueError, KeyError, TypeError):
            return cls(folder)

    def fitting(self, plan: Plan, files: Sequence[DataFile]) -> IncrementalAggregates:
        """The segments that a build of these files can use: whole, of unchanged files, and with no sum that its points
        of time would part. None without the base, nor where the build wants more than twice its parts."""
        there = {_name(file) for file in files}
        found = replace(self, last=max((s.ds for s in self.segments), default="") <= str(plan.ds))
        fit = [
            s
            for s in self.segments
            if there.issuperset(s.files)
            and plan.own.cuts.holds(s.time_cuts)
            and s.bytes == _bytes(self.folder / s.name)
        ]
        if (
            fit[:1] != list(self.segments[:1])
            or plan.timed != self.timed
            or plan.parts > _GROWTH * self.parts
        ):
            return found.without()
        return replace(found, segments=tuple(fit))

    def without(self) -> IncrementalAggregates:
        """No segment."""
        return replace(self, segments=())

    def extended(self, plan: Plan, new: int) -> Plan:
        """The plan that builds on these sums, with so many new events beside them."""
        base, *others = [segment.events for segment in self.segments] or [0]
        compacting = self.last and new + sum(others) > _COMPACT * base
        kept = tuple(Runs(self.folder / s.name, s.nodes, s.time_cuts) for s in self.segments)
        return replace(plan, kept=kept, compacting=compacting, parts=self.parts if kept else plan.parts)

    @property
    def base(self) -> Path | None:
        return self.folder / self.segments[0].name if self.segments else None

    def beside(self, files: Sequence[DataFile]) -> list[DataFile]:
        """Files whose events are in no segment."""
        covered = {name for segment in self.segments for name in segment.files}
        return [file for file in files if _name(file) not in covered]

    def seen(self, ds: date | None = None) -> list[str]:
        """Where the keys that segments have seen lie; of night ``ds`` only, when it is given."""
        chosen = (s for s in self.segments if ds is None or s.ds == str(ds))
        return [str(self.folder / segment.name / SEEN) for segment in chosen]

    def check_keys(self, keys: Path) -> None:
        """Raises StaleSumsError when a segment was made with other ids than those laid out in ``keys``."""
        for segment in self.segments:
            if segment.keys != digest_keys(keys, segment.nodes):
                raise StaleSumsError(f"ids have changed since {segment.ds}")

    def grows(self, plan: Plan, new: Sequence[DataFile]) -> bool:
        """Whether a finished build is to leave its sums: not when some later night has left its own, nor when it has
        left events out, nor when it has nothing new."""
        return self.last and bool(new or plan.compacting) and not (plan.folder / LEFT_OUT).exists()

    def keep(self, plan: Plan, files: Sequence[DataFile]) -> None:
        """Leave the sums of a finished build as a segment, ``files`` being those that it sums up, and drop what they
        replace."""
        source = plan.compacted if plan.compacting else plan.own.folder
        source.mkdir(exist_ok=True)
        for extra in (plan.folder / SEEN, *(plan.folder.glob("spread-*.npy") if plan.compacting else ())):
            os.replace(extra, source / extra.name)
        segment = Snapshot(
            name=uuid.uuid4().hex,
            ds=str(plan.ds),
            files=tuple(_name(file) for file in files),
            events=sum(file.rows for file in files),
            nodes=dict(plan.nodes),
            keys=digest_keys(plan.folder / "keys", plan.nodes),
            cuts=tuple(plan.own.cuts.at_C.tolist()),
            period=plan.own.cuts.period,
            first=plan.first,
            bytes=_bytes(source),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        os.replace(source, self.folder / segment.name)
        before = () if plan.compacting else self.segments
        replace(self, parts=plan.parts, timed=plan.timed, segments=(*before, segment))._write()

    def _write(self) -> None:
        index = {"format": _FORMAT, "parts": self.parts, "timed": self.timed}
        aside = self.folder / f".{_INDEX}"
        aside.write_text(json.dumps(index | {"segments": [asdict(segment) for segment in self.segments]}))
        os.replace(aside, self.folder / _INDEX)
        named = {segment.name for segment in self.segments}
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder.name not in named:
                shutil.rmtree(folder)


def check_parts(plan: Plan) -> None:
    """Raises StaleSumsError when some part has grown far beyond the others: new hubs, which only a base spreads."""
    for stream in STREAMS if plan.kept else ():
        size = np.zeros(plan.parts, np.int64)
        for runs in (plan.own, *plan.kept):
            for file in files_of(runs.folder / "_".join(stream)):
                size += np.diff(np.fromfile(file, np.int64, plan.parts + 1))
        if size.max() > max(_PART_BYTES * plan.width // 2, 2 * size.mean()):
            raise StaleSumsError(f"part {size.argmax()} of {'_'.join(stream)} has grown too large")


def digest_keys(keys: Path, nodes: Mapping[str, int]) -> str:
    """Of the keys of the first ids of each type, as ``KeyIndex`` has laid them out; empty where there are fewer."""
    digest = hashlib.blake2b(digest_size=16)
    for kind, count in sorted(nodes.items()):
        at = np.load(keys / kind / "at.npy", mmap_mode="r")[: count + 1]
        if len(at) <= count:
            return ""
        text = np.load(keys / kind / "text.npy", mmap_mode="r")[: at[-1]]
        for array in (at, text):
            digest.update(array.data)
    return digest.hexdigest()


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _name(file: DataFile) -> str:
    return "/".join(Path(file.path).parts[-2:])
