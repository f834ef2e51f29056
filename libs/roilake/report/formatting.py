"""Numbers and names as people read them."""

from __future__ import annotations

from collections.abc import Iterable

from roilake.metrics import names

UNITS = ("B", "kB", "MB", "GB", "TB")
GROUPS = ("separation", "ranking", "probability", "lists")
KINDS = {
    "auc": ("AUC", "separation"),
    "ctr_auc": ("CTR AUC", "separation"),
    "ctcvr_auc": ("CTCVR AUC", "separation"),
    "auc_popularity_negatives": ("AUC popular", "separation"),
    "gauc": ("GAUC", "separation"),
    "pr_auc": ("PR-AUC", "separation"),
    "ks": ("KS", "separation"),
    "hit_rate": ("Hit rate", "ranking"),
    "recall": ("Recall", "ranking"),
    "precision": ("Precision", "ranking"),
    "ndcg": ("NDCG", "ranking"),
    "mrr": ("MRR", "ranking"),
    "map": ("MAP", "ranking"),
    "log_loss": ("Log-loss", "probability"),
    "normalised_entropy": ("Normalised entropy", "probability"),
    "brier": ("Brier", "probability"),
    "calibration_error": ("Calibration error", "probability"),
    "calibration_ratio": ("Calibration ratio", "probability"),
    "coverage": ("Coverage", "lists"),
    "novelty": ("Novelty", "lists"),
    "diversity": ("Diversity", "lists"),
    "popularity_bias": ("Popularity bias", "lists"),
}
"""Kind of metric to its label and its group, in the order of the page."""


NOTES = {
    "graph": {
        "tiles": "{own} on the test windows, with 95 % intervals over users; level means that the paired interval of "
        "the difference holds 0. Negatives of the AUC are drawn uniformly from all items, those of AUC popular in "
        "proportion to their events.",
        "models": "The best value of a column is bold. Metrics with a K rank every item of the catalogue.",
        "slices": "A user without history has no event before the window.",
        "calibration": "Calibration: scores of the test windows turned into probabilities by a logistic map fitted on "
        "the validation windows; a bin on the dashed line means what it says.",
        "came_in": "The night's own events and nodes",
    },
    "conversions": {
        "tiles": "{own}, with 95 % intervals over users; level means that the paired interval of the difference holds "
        "0. All pairs are drawn at random, clicked or not: a model that learns from clicks is served on them all.",
        "models": "The best value of a column is bold; the calibration ratio, predicted over true conversions, is best "
        "at 1. A model without a click task has no CTR and CTCVR.",
        "slices": "By whether a pair is clicked, or how likely it would be.",
        "calibration": "Calibration: mean predicted and true probability of a conversion, in tenths of the rows by "
        "prediction; a bin on the dashed line means what it says.",
        "came_in": "The impressions that the night looks at",
    },
}
"""What the page says beside its parts, by kind of night."""


def kind_of(name: str) -> str:
    """``ndcg`` of ``ndcg@20``."""
    return name.partition("@")[0]


def direction(name: str) -> int:
    """As ``names.direction``; 0 for a metric that only another version of the code knows."""
    return names.direction(name) if kind_of(name) in KINDS else 0


def group_of(name: str) -> str:
    """The group of metrics that is shown together; ``lists`` for a kind that is not known."""
    return KINDS.get(kind_of(name), ("", "lists"))[1]


def in_order(metrics: Iterable[str]) -> list[str]:
    """Distinct metric names by kind, then by K."""
    kinds = list(KINDS)

    def place(name: str) -> tuple[int, str, int]:
        kind, _, k = name.partition("@")
        return (kinds.index(kind) if kind in kinds else len(kinds)), kind, int(k or 0)

    return sorted(set(metrics), key=place)


def label(name: str) -> str:
    """A metric's name for people."""
    kind, _, k = name.partition("@")
    word = KINDS[kind][0] if kind in KINDS else kind
    return f"{word} @{k}" if k else word


def number(value: float | None, digits: int = 3) -> str:
    """A count with thin spaces between thousands, or a fraction with ``digits`` digits; a dash for what is
    undefined."""
    if value is None:
        return "–"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """The same with its sign, ``±`` for what rounds to nothing."""
    if value is None:
        return "–"
    text = number(abs(value), digits)
    if not text.strip("0.\u202f"):
        return f"±{text}"
    return f"{'+' if value > 0 else '−'}{text}"


def percent(part: float, digits: int = 0) -> str:
    """A share of 1 as a percentage."""
    return f"{100 * part:.{digits}f} %"


def size(count: float) -> str:
    """Bytes in the unit that fits."""
    power = 0
    while count >= 1000 and power < len(UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.0f} {UNITS[power]}" if power == 0 or count >= 100 else f"{count:.1f} {UNITS[power]}"


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds from two minutes on."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def plural(count: int, word: str) -> str:
    """``3 users``, ``1 user``, ``no user``."""
    return f"{number(count) if count else 'no'} {word}{'s' if count > 1 else ''}"


def listed(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
