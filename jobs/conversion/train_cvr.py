"""Train the night's conversion models; students with the pseudo-labels of their teachers."""

from __future__ import annotations

from datetime import date

from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.training.night import train_models
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded
from roilake.training.night import write_models


def run(lake: Lake, config: ConversionConfig, ds: date) -> StepResult:
    """Write a folder for each model (``roilake.lake.model_folder``) and table ``models``: all ``models`` of the config,
    trained in one launch from initial weights, beside the teachers that are there already."""
    with recorded(lake, config, ds, "train_cvr") as record:
        known = record.rows("models", name=list(config.teachers)).to_pylist()
        write_models(record, [*known, *train_models(record, config, config.models)])
    return record.result


if __name__ == "__main__":
    main(run, "conversion")
