"""Sums of pairs that a night leaves for the next ones, which then count their own events only.

A snapshot is what one build has summed up of some files of events: its runs by stream, and under ``seen`` the keys of
those events. The first one, the base, is one run a part, and sets into which parts all of them are cut; later ones are
a night's few each, until they make up a quarter of it and a build compacts all into a new base. ``snapshots.json``
names them. All of it can be made again: without it a build counts all events, to the same bits."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from roilake.errors import RoilakeError
from roilake.lake import DataFile, Lake, write_aside
from roilake.pipelines.retrieval.graph.plan import STREAMS, Plan, Runs, TimeCuts
from roilake.pipelines.retrieval.graph.spill import LEFT_OUT, files_of

SEEN = "seen"
_FORMAT = 1
_INDEX = "snapshots.json"
_GROWTH = 2  # wanted over present parts, above which all events are summed up again
_COMPACT = 0.25  # events beside the base, as a share of its own, above which all sums are compacted
_PART_BYTES = 320_000_000  # runs of a part (untimed) that no task should have to hold


class StaleSumsError(RoilakeError):
    """Incremental aggregates do not fit the night after all: it has to sum up all events."""


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
    """Snapshots in ``folder``, the base first. ``parts``: into how many all are cut; ``timed``: see ``Plan``; ``last``:
    no later night has left any."""

    folder: Path
    parts: int = 0
    timed: bool = False
    snapshots: tuple[Snapshot, ...] = ()
    last: bool = True

    @classmethod
    def of(cls, lake: Lake) -> IncrementalAggregates:
        """Those of a lake: none where there is no index, or none that can be read, or one of another format."""
        if not lake.exists("events"):  # nothing is written to a folder that is no lake yet
            return cls(Path())
        folder = lake.lasting("graph_sums")
        try:
            found = json.loads((folder / _INDEX).read_text())
            snapshots = tuple(
                Snapshot(**{**some, "files": tuple(some["files"]), "cuts": tuple(some["cuts"])})
                for some in found["snapshots"]
            )
            known = found["format"] == _FORMAT
            return cls(folder, found["parts"], found["timed"], snapshots) if known else cls(folder)
        except (OSError, ValueError, KeyError, TypeError):
            return cls(folder)

    def fitting(self, plan: Plan, files: Sequence[DataFile]) -> IncrementalAggregates:
        """The snapshots that a build of these files can use: whole, of unchanged files, and with no sum that its points
        of time would part. None without the base, nor where the build wants more than twice its parts."""
        there = {_name(file) for file in files}
        found = replace(self, last=max((s.ds for s in self.snapshots), default="") <= str(plan.ds))
        fit = [
            s
            for s in self.snapshots
            if there.issuperset(s.files)
            and plan.own.cuts.holds(s.time_cuts)
            and s.bytes == _bytes(self.folder / s.name)
        ]
        if fit[:1] != list(self.snapshots[:1]) or plan.timed != self.timed or plan.parts > _GROWTH * self.parts:
            return found.without()
        return replace(found, snapshots=tuple(fit))

    def without(self) -> IncrementalAggregates:
        """No snapshot."""
        return replace(self, snapshots=())

    def extended(self, plan: Plan, new: int) -> Plan:
        """The plan that builds on these sums, with so many new events beside them."""
        base, *others = [snapshot.events for snapshot in self.snapshots] or [0]
        compacting = self.last and new + sum(others) > _COMPACT * base
        runs = tuple(Runs(self.folder / s.name, s.nodes, s.time_cuts) for s in self.snapshots)
        return replace(plan, snapshots=runs, compacting=compacting, parts=self.parts if runs else plan.parts)

    @property
    def base(self) -> Path | None:
        return self.folder / self.snapshots[0].name if self.snapshots else None

    def beside(self, files: Sequence[DataFile]) -> list[DataFile]:
        """Files whose events are in no snapshot."""
        covered = {name for snapshot in self.snapshots for name in snapshot.files}
        return [file for file in files if _name(file) not in covered]

    def seen(self) -> list[str]:
        """Where the keys that the snapshots have seen lie."""
        return [str(self.folder / snapshot.name / SEEN) for snapshot in self.snapshots]

    def check_keys(self, keys: Path) -> None:
        """Raises StaleSumsError when a snapshot was made with other ids than those laid out in ``keys``."""
        for snapshot in self.snapshots:
            if snapshot.keys != digest_keys(keys, snapshot.nodes):
                raise StaleSumsError(f"ids have changed since {snapshot.ds}")

    def grows(self, plan: Plan, new: Sequence[DataFile]) -> bool:
        """Whether a finished build is to leave its sums: not when some later night has left its own, nor when it has
        left events out, nor when it has nothing new."""
        return self.last and bool(new or plan.compacting) and not (plan.folder / LEFT_OUT).exists()

    def leave(self, plan: Plan, files: Sequence[DataFile]) -> None:
        """Leave the sums of a finished build as a snapshot, ``files`` being those that it sums up, and drop what they
        replace."""
        source = plan.compacted if plan.compacting else plan.own.folder
        source.mkdir(exist_ok=True)
        for extra in (plan.folder / SEEN, *(plan.folder.glob("spread-*.npy") if plan.compacting else ())):
            os.replace(extra, source / extra.name)
        snapshot = Snapshot(
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
        os.replace(source, self.folder / snapshot.name)
        before = () if plan.compacting else self.snapshots
        replace(self, parts=plan.parts, timed=plan.timed, snapshots=(*before, snapshot))._write()

    def _write(self) -> None:
        index = {"format": _FORMAT, "parts": self.parts, "timed": self.timed}
        text = json.dumps(index | {"snapshots": [asdict(snapshot) for snapshot in self.snapshots]})
        write_aside(self.folder / _INDEX, lambda path: path.write_text(text))
        named = {snapshot.name for snapshot in self.snapshots}
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder.name not in named:
                shutil.rmtree(folder)


def check_parts(plan: Plan) -> None:
    """Raises StaleSumsError when some part has grown far beyond the others: new hubs, which only a base spreads."""
    for stream in STREAMS if plan.snapshots else ():
        size = np.zeros(plan.parts, np.int64)
        for runs in (plan.own, *plan.snapshots):
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
