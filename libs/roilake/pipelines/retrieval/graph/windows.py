"""What a night starts from, and how it cuts time into windows."""

from __future__ import annotations

import calendar
import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

from roilake.config.base import BEST
from roilake.lake import Lake, Publication
from roilake.metrics.champion import champion_of
from roilake.pipelines.retrieval.config import RetrievalConfig, WindowsConfig

Split = Literal["train", "validation", "test", "serve"]


@dataclass(frozen=True)
class Window:
    """Events with ``as_of`` <= time < ``end`` (midnights, UTC). Its graph sums up events before ``as_of``."""

    as_of: date
    end: date
    split: Split


def plan_windows(config: WindowsConfig, ds: date, train_end: date | None) -> tuple[Window, ...]:
    """The windows of the night at ``ds``, in time order, counted back from its end (ds + 1 day).

    Last lie ``config.test`` windows of ``config.length``, before them ``validation`` ones, before them ``train`` ones;
    after all of them an empty one, split ``serve``, at the end of the night. With ``train_end`` (the end of what the
    last published model was trained on) the train windows cut [train_end, start of validation) into pieces of at most
    ``length``, counted back too, so that the model warm-starts on requests it has not seen; there are none when nothing
    new lies between."""
    end = ds + timedelta(days=1)
    counts: dict[Split, int] = {"test": config.test, "validation": config.validation}
    if train_end is None:
        counts["train"] = config.train
    splits = [split for split, count in counts.items() for _ in range(count)]
    windows = [Window(end, end, "serve")]
    for index, split in enumerate(splits):
        windows.append(_window(end, config.length, index, split))
    while train_end is not None and windows[-1].as_of > train_end:
        last = _window(end, config.length, len(windows) - 1, "train")
        windows.append(Window(max(last.as_of, train_end), last.end, "train"))
    return tuple(reversed(windows))


def _window(end: date, length: str, index: int, split: Split) -> Window:
    return Window(_back(end, length, index + 1), _back(end, length, index), split)


def _back(end: date, length: str, count: int) -> date:
    """``count`` windows before ``end``. Months keep the day where the month has it, else take its last day."""
    if length.endswith("d"):
        return end - timedelta(days=int(length[:-1]) * count)
    months = end.year * 12 + end.month - 1 - int(length[:-2]) * count
    year, month = divmod(months, 12)
    return date(year, month + 1, min(end.day, calendar.monthrange(year, month + 1)[1]))


@dataclass(frozen=True)
class LastModel:
    """A model of the last published night: ``folder`` holds its files."""

    name: str
    night: Publication
    folder: Path
    train_end: date
    config: dict[str, Any]


def published_models(
    lake: Lake, config: RetrievalConfig, ds: date
) -> tuple[Publication | None, dict[str, dict[str, Any]]]:
    """The last night published before ``ds`` that has models, if any, and its rows of ``models`` by name."""
    night = lake.publication(config.pipeline, before=ds)
    if night is None or "models" not in night.versions:
        return None, {}
    where = {"pipeline": config.pipeline, "ds": night.ds}  # whichever run trained them: others may have come after it
    rows = lake.to_arrow("models", night.versions["models"], filters=where).to_pylist()
    return night, {row["name"]: row for row in rows}


def last_model(lake: Lake, config: RetrievalConfig, ds: date) -> LastModel | None:
    """The model of the last night published before ``ds`` that this one builds on: the default model (of ``best``, the
    one that served that night), or, where that makes no interest vectors, the first of the config's models that does,
    if any. None on a first night, or when the default model (of ``best``, every model) is new."""
    # Here, so that the graph's tasks need not load torch.
    from roilake.pipelines.retrieval.models import makes_interests

    night, rows = published_models(lake, config, ds)
    if night is None or config.default_model not in (BEST, *rows):
        return None
    first = champion_of(lake, night).model if config.default_model == BEST else config.default_model
    known = [name for name in (first, *config.models) if name in rows and name in config.models]
    if not known:
        return None
    makers = (name for name in known if makes_interests(json.loads(rows[name]["config"])["kind"]))
    row = rows[next(makers, known[0])]
    folder = lake.files.local(row["path"])
    return LastModel(row["name"], night, folder, row["train_end"], json.loads(row["config"]))


def night_windows(lake: Lake, config: RetrievalConfig, ds: date) -> tuple[Window, ...]:
    """``plan_windows`` of a night, from what the last published one leaves."""
    last = last_model(lake, config, ds)
    return plan_windows(config.windows, ds, last.train_end if last else None)
