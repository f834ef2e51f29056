"""``points`` -> a model, ``point_predictions`` and metrics."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pyarrow as pa
import torch
from safetensors.torch import load_file

from roilake.lake import TABLES, Lake, model_folder
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded
from roilake.training import Entry, Plan, Settings, launch
from tests.toy.config import ToyConfig
from tests.toy.line import LineTask, absolute_error, artifacts, predict

NAME = "line"


def run(lake: Lake, config: ToyConfig, ds: date) -> StepResult:
    with recorded(lake, config, ds, "fit_line") as record:
        points = record.rows("points", columns=("name", "x", "y")).sort_by("name")
        record.rows_in = len(points)
        x, y = (torch.tensor(points[column].to_numpy()).float() for column in "xy")
        folder = model_folder("toy", NAME, ds, record.run.run_id)
        figures = _train(record, LineTask(x, y, config.steps), folder)
        predicted = _predictions(record, folder, x)
        _write(record, "point_predictions", [
            {"name": name, "predicted": value}
            for name, value in zip(points["name"].to_pylist(), predicted.tolist(), strict=True)
        ])  # fmt: skip
        _write(record, "metrics", [{
            "run": record.run.run_id, "model": NAME, "split": "test", "slice": "all", "metric": "absolute_error",
            "value": absolute_error(y.numpy(), predicted.numpy()), "low": None, "high": None, "n": len(y),
        }])  # fmt: skip
        _write(record, "models", [{
            "name": NAME, "run_id": record.run.run_id, "path": folder, "config": "{}", "parents": "{}",
            "metrics": json.dumps(figures["metrics"]), "train_end": ds + timedelta(days=1),
        }])  # fmt: skip
        record.details |= {"models": {NAME: figures}, "recommendations": _recommended(record)}
    return record.result


def _train(record: Recorder, task: LineTask, folder: str) -> dict:
    lake = record.lake
    checkpoints = str(lake.lasting(f"fit_line/{record.run.run_id}"))
    settings = Settings(NAME, seed=record.config.seed, checkpoint_every=100)
    entry = Entry(str(lake.files.local(folder)), checkpoints, settings, lambda inputs: inputs, artifacts)
    return launch(Plan(lambda context: task, (entry,), record.run.run_id), workers=1)[NAME]


def _predictions(record: Recorder, folder: str, x: torch.Tensor) -> torch.Tensor:
    model = torch.nn.Linear(1, 1)
    model.load_state_dict(load_file(record.lake.files.local(f"{folder}/weights.safetensors")))
    return predict(model, x)


def _recommended(record: Recorder) -> int | None:
    """Rows of the retrieval pipeline's last publication, if there is one."""
    found = record.upstream("retrieval", "recommendations")
    if found is None:
        return None
    version = found.versions["recommendations"]
    return record.lake.to_arrow("recommendations", version, filters={"ds": found.ds}).num_rows


def _write(record: Recorder, table: str, rows: list[dict]) -> None:
    schema = TABLES[table].arrow_schema
    record.write(table, pa.Table.from_pylist([{"ds": record.run.ds, **row} for row in rows], schema=schema))


if __name__ == "__main__":
    main(run, "toy")
