"""What a night of conversion models measures, and the metrics that only its evaluation computes."""

from roilake.metrics.registry import Metric, register
from roilake.metrics.slices import ALL

CONVERSION = ("auc", "log_loss", "calibration_ratio", "calibration_error")
"""Of predicted conversions."""
_AUC = "roilake.metrics.observed:observe_auc"
CTR_AUC = register(
    Metric("ctr_auc", "CTR AUC", "separation", 1, _AUC, definition="AUC of clicks among all impressions"), after="auc"
).name
CTCVR_AUC = register(
    Metric(
        "ctcvr_auc", "CTCVR AUC", "separation", 1, _AUC, leading=1,
        definition="AUC of clicks with a conversion among all impressions",
    ),
    after="ctr_auc",
).name  # fmt: skip
IMPRESSION = (CTR_AUC, CTCVR_AUC)
SLICES = {
    ALL: "all impressions of the split; in `unbiased`, all pairs",
    "clicked": "those with a click; of a generated truth, pairs by the probability of their click",
    "unclicked": "those without one, in `unbiased` only",
}
"""What each slice holds."""
