"""Train the night's teachers, whose predictions on unclicked impressions students learn from."""

from __future__ import annotations

from datetime import date

from roilake.lake import Lake
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.training.night import train_models
from roilake.runtime.command import main
from roilake.runtime.step import StepResult, recorded
from roilake.training.night import write_models


def run(lake: Lake, config: ConversionConfig, ds: date) -> StepResult:
    """Write a folder for each model (``roilake.lake.model_folder``) and table ``models``: all ``teachers`` of the
    config, trained in one launch from initial weights."""
    with recorded(lake, config, ds, "train_cvr_teacher") as record:
        write_models(record, train_models(record, config, config.teachers) if config.teachers else [])
    return record.result


if __name__ == "__main__":
    main(run, "conversion")
