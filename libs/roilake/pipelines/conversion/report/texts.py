"""How the page of a conversion night explains its numbers."""

from roilake.report import Texts

TEXTS = Texts(
    tiles="{own}, with 95 % intervals over users; level means that the paired interval of the difference holds 0. All "
    "pairs are drawn at random, clicked or not: a model that learns from clicks is served on them all.",
    models="The best value of a column is bold; the calibration ratio, predicted over true conversions, is best at 1. "
    "A model without a click task has no CTR and CTCVR.",
    slices="By whether a pair is clicked, or how likely it would be.",
    calibration="Calibration: mean predicted and true probability of a conversion, in tenths of the rows by "
    "prediction; a bin on the dashed line means what it says.",
    slice_names={"clicked": ("click", "clicked"), "unclicked": ("click", "not clicked")},
)
