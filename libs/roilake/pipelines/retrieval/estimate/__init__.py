"""What a retrieval night will cost, from the statistics of its tables."""

from roilake.pipelines.retrieval.estimate.plan import RetrievalEstimate, plan_night

__all__ = ["RetrievalEstimate", "plan_night"]
