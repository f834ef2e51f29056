"""Train the night's node models on its graph, from initial weights."""

from __future__ import annotations

import shutil
from datetime import date, timedelta

from roilake.lake import Lake
from roilake.pipelines.node_labels.config import NodeLabelsConfig
from roilake.pipelines.node_labels.training.night import plan_models
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded
from roilake.training.night import train_models, write_models


def run(lake: Lake, config: NodeLabelsConfig, ds: date) -> StepResult:
    """Write a folder for each model (``roilake.lake.model_folder``) and table ``models``, trained in one launch."""
    with recorded(lake, config, ds, "train_node_labels") as record:
        folder = lake.scratch(f"{record.run.step}/{record.run.run_id}")
        try:
            plan = plan_models(record, config, folder)
            write_models(record, train_models(record, plan, config.training.workers, ds + timedelta(days=1)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return record.result


if __name__ == "__main__":
    main(run, "node_labels")
