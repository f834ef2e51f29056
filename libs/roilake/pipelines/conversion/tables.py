"""Tables of the conversion pipeline: columns, types, key, partitions, and what each column means."""

from __future__ import annotations

from roilake.lake.tables import DS, table

IMPRESSIONS = table(
    "impressions",
    "What was shown, clicked and bought in the days that a night looks at; a late conversion changes a later "
    "night's row.",
    key="ds split impression_id",
    partitions="ds split labelled shard",
    columns=f"""{DS}
    split string train, validation, test, or unbiased (pairs drawn at random: the entire space)
    labelled int 1 if the conversion is known: clicked, or drawn at random and logged
    shard int keyed hash(impression_id) mod impressions.shards
    impression_id string identity of the impression in its source, or a hash of its whole row
    time timestamp when it was shown, UTC
    user string key of the user
    item string key of the item
    categories int[] node ids of user and item, then 31-bit hashes of (field, value) of the fields; -1 missing
    click int? 1 if clicked, 0 if not; null in split unbiased where it is not known
    conversion int? 1 if converted by the end of the night; null where it cannot be known
    delay_seconds double? from impression to conversion
    sampling_rate double probability with which the log kept such a row
    propensity double? logged probability of the click or exposure, where known""",
)

CONVERSION_TRUTH = table(
    "conversion_truth",
    "Probabilities behind generated impressions. Only evaluate_conversions may read it.",
    key="ds impression_id",
    columns=f"""{DS}
    impression_id string a row of impressions in split test or unbiased
    click_probability double probability of a click
    conversion_probability double probability of a conversion if clicked""",
)

PSEUDO_LABELS = table(
    "pseudo_labels",
    "Predictions of a teacher for unclicked impressions, with all that a student learns from.",
    key="ds teacher impression_id",
    partitions="ds teacher shard",
    columns=f"""{DS}
    teacher string name of the teacher in the config
    shard int as in impressions
    impression_id string a row of impressions in split train, unclicked
    categories int[] as in impressions
    sampling_rate double as in impressions
    propensity double? as in impressions
    probability double the teacher's probability of a conversion, if clicked
    disagreement double KL divergence of the teacher's two heads, or of its members from it, in nats; 0 for one head
    version string name@ds/run_id of the teacher""",
)

CVR_SCORES = table(
    "cvr_scores",
    "Probabilities of click and conversion of the impressions that models are evaluated on, by every model.",
    key="ds model split impression_id",
    partitions="ds model split",
    columns=f"""{DS}
    model string name of the model in the config
    split string validation, test or unbiased
    impression_id string a row of impressions
    user string key of the user
    item string key of the item
    pctr double? probability of a click; null for a model that has none
    pcvr double probability of a conversion, if clicked
    pctcvr double? probability of a click and a conversion; null for a model without pctr
    uncertainty double? KL divergence of the model's two heads expected over dropout, in nats; null for one head
    version string name@ds/run_id of the model""",
)

PAIR_SCORES = table(
    "pair_scores",
    "Probabilities of every pair of a user and an item of the night's log, by the default model: what other "
    "pipelines rank by. Empty where there are more than scoring.max_pairs.",
    key="ds user item",
    partitions="ds bucket",
    columns=f"""{DS}
    bucket int range of users, by id
    user int node id of the user
    item int node id of the item
    pctr float? probability of a click, if the item is shown; null for a model that has none
    pcvr float probability of a conversion, if clicked
    version string name@ds/run_id of the model""",
)
