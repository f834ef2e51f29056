"""What a night of conversion models measures, and the metrics that only its evaluation computes."""

from roilake.metrics.registry import Metric, register

CONVERSION = ("auc", "log_loss", "calibration_ratio", "calibration_error")
"""Of predicted conversions."""
_AUC = "roilake.metrics.observed:observe_auc"
CTR_AUC = register(Metric("ctr_auc", "CTR AUC", "separation", 1, _AUC), after="auc").name
"""AUC of clicks among all impressions."""
CTCVR_AUC = register(Metric("ctcvr_auc", "CTCVR AUC", "separation", 1, _AUC, leading=1), after="ctr_auc").name
"""AUC of clicks with a conversion among all impressions."""
IMPRESSION = (CTR_AUC, CTCVR_AUC)
