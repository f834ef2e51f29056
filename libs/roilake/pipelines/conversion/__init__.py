"""Conversion: who buys after a click, for all that is shown, by UKD (arXiv 2201.08024) and what it is held against."""

from roilake.pipelines.conversion import tables as t
from roilake.pipelines.conversion.config import ConversionConfig
from roilake.pipelines.conversion.metrics import IMPRESSION, SLICES
from roilake.runtime.pipeline import EvaluationSet, Pipeline, Step, Upstream

PIPELINE = Pipeline(
    name="conversion",
    title="Probabilities of click and conversion, right for all impressions (UKD)",
    config=ConversionConfig,
    tables=(t.IMPRESSIONS, t.CONVERSION_TRUTH, t.PSEUDO_LABELS, t.CVR_SCORES, t.PAIR_SCORES),
    steps=(
        Step(
            "build_impressions",
            reads=("node_ids",),
            writes=("node_ids", "impressions", "conversion_truth", "quarantine"),
            reconciles=True,
        ),
        Step(
            "train_cvr_teacher",
            reads=("impressions", "retrieval.models", "retrieval.nodes"),
            writes=("models",),
            trains=True,
        ),
        Step("write_pseudo_labels", reads=("models", "impressions"), writes=("pseudo_labels",)),
        Step(
            "train_cvr",
            reads=("models", "impressions", "pseudo_labels", "retrieval.models", "retrieval.nodes"),
            writes=("models",),
            trains=True,
        ),
        Step("score_conversions", reads=("models", "impressions"), writes=("cvr_scores", "pair_scores")),
        Step("evaluate_conversions", reads=("impressions", "conversion_truth", "cvr_scores"), writes=("metrics",)),
    ),
    evaluated=(
        EvaluationSet(
            "unbiased", ("all",), "all pairs", "Pairs drawn at random, clicked or not: their conversion if clicked"
        ),
        EvaluationSet(
            "test",
            ("clicked", "all"),
            "test days",
            "Impressions of the test split: conversion of its clicks; CTR and CTCVR of all",
        ),
    ),
    metrics=IMPRESSION,
    slices=tuple(SLICES.items()),
    served="cvr_scores",
    noun="score",
    source="impressions",
    upstreams=(
        Upstream("retrieval", "models", "vectors of users and items", optional=True),
        Upstream("retrieval", "nodes", "whose vectors these are", optional=True),
    ),
    filled="roilake.pipelines.conversion.evaluation.checks:filled",
    checks="roilake.pipelines.conversion.evaluation.checks:checks",
    figures="roilake.pipelines.conversion.report.sections:count_impressions",
    sections=(
        "roilake.pipelines.conversion.report.sections:teachers_section",
        "roilake.pipelines.conversion.report.sections:impressions_section",
    ),
    volume="roilake.pipelines.conversion.report.sections:volume",
    texts="roilake.pipelines.conversion.report.sections:TEXTS",
)
