"""How the page of a retrieval night explains its numbers."""

from roilake.report import Texts

TEXTS = Texts(
    tiles="{own} on the test windows, with 95 % intervals over users; level means that the paired interval of the "
    "difference holds 0. Negatives of the AUC are drawn uniformly from all items, those of AUC popular in proportion "
    "to their events.",
    models="The best value of a column is bold. Metrics with a K rank every item of the catalogue.",
    slices="A user without history has no event before the window, a request without one none before its own time.",
    calibration="Calibration: scores of the test windows turned into probabilities by a logistic map fitted on the "
    "validation windows; a bin on the dashed line means what it says.",
    slice_names={
        "cold_users": ("user history", "none"),
        "warm_users": ("user history", "some"),
        "no_history": ("request's history", "none"),
        "with_history": ("request's history", "some"),
        "head_items": ("item popularity", "most popular fifth"),
        "tail_items": ("item popularity", "the others"),
    },
)
