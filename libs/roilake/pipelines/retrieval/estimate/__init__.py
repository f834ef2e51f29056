"""What a night will cost, before it runs: rows, bytes, memory, minutes and disk of each job."""

from roilake.pipelines.retrieval.estimate.plan import Estimate, PlannedJob, plan_job, plan_night
from roilake.pipelines.retrieval.estimate.scale import check_room

__all__ = ["Estimate", "PlannedJob", "check_room", "plan_job", "plan_night"]
