"""``points`` -> a model, ``point_predictions`` and metrics."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import torch
from safetensors.torch import load_file

from roilake.config import ModelConfig
from roilake.lake import TABLES, Lake
from roilake.runtime.command import main
from roilake.runtime.step import Recorder, StepResult, recorded
from roilake.training import Settings, night
from tests.toy.config import ToyConfig
from tests.toy.line import LineTask, absolute_error, artifacts, predict

NAME = "line"


def run(lake: Lake, config: ToyConfig, ds: date) -> StepResult:
    with recorded(lake, config, ds, "fit_line") as record:
        points = record.rows("points", columns=("name", "x", "y")).sort_by("name")
        record.rows_in = len(points)
        x, y = (torch.tensor(points[column].to_numpy()).float() for column in "xy")
        task = LineTask(x, y, config.steps)
        model, settings = ModelConfig(kind=NAME), Settings(NAME, seed=config.seed, checkpoint_every=100)
        entry = night.make_entry(record, model, settings, lambda inputs: inputs, artifacts)
        plan = night.make_plan(record, lambda context: task, [entry])
        rows = night.train_models(record, plan, workers=1, train_end=ds + timedelta(days=1))
        night.write_models(record, rows)
        predicted = _predictions(entry.folder, x)
        _write(record, "point_predictions", [
            {"name": name, "predicted": value}
            for name, value in zip(points["name"].to_pylist(), predicted.tolist(), strict=True)
        ])  # fmt: skip
        _write(record, "metrics", [{
            "run": record.run.run_id, "model": NAME, "split": "test", "slice": "all", "metric": "absolute_error",
            "value": absolute_error(y.numpy(), predicted.numpy()), "low": None, "high": None, "n": len(y),
        }])  # fmt: skip
        record.details["recommendations"] = _recommended(record)
    return record.result


def _predictions(folder: str, x: torch.Tensor) -> torch.Tensor:
    model = torch.nn.Linear(1, 1)
    model.load_state_dict(load_file(f"{folder}/weights.safetensors"))
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
