"""Train the night's teachers, whose word on unclicked impressions students learn from."""

from __future__ import annotations

from datetime import date

from roilake.config import ConversionsConfig
from roilake.job import JobResult, main, recorded
from roilake.lake import Lake
from roilake.training.conversion_night import train_models, write_models


def run(lake: Lake, config: ConversionsConfig, ds: date) -> JobResult:
    """Write the folders ``models/<name>/<ds>/<run_id>`` and table ``models``: all ``teachers`` of the config,
    trained in one launch from initial weights."""
    with recorded(lake, config, ds, "train_cvr_teacher") as record:
        write_models(record, train_models(record, config, config.teachers) if config.teachers else [])
    return record.result


if __name__ == "__main__":
    main(run)
