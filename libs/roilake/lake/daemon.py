"""Spark's Python daemon, with what tasks need imported before it forks a worker for them.

Spark ends a worker that was idle for a minute, as all are while models train, and each new one would import torch and
the rest anew: 7 s, on every core. ``spark.python.daemon.module`` names this module, where executors can import it.
"""

from __future__ import annotations

from pyspark import daemon

import roilake.events.truth_rows
import roilake.graph.lists
import roilake.roi.local
import roilake.scoring.night
import roilake.training  # noqa: F401

if __name__ == "__main__":
    daemon.manager()  # type: ignore[no-untyped-call]
