"""What a retrieval night will cost, from the statistics of its tables."""

from roilake.pipelines.retrieval.estimate.plan import RetrievalEstimate, plan_night
from roilake.pipelines.retrieval.estimate.scale import check_room

__all__ = ["RetrievalEstimate", "check_room", "plan_night"]
