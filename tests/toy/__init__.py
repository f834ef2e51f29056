"""A whole pipeline outside of ``libs/``: a line through points. It shows what a new pipeline is made of, and the tests
run it with nothing in ``libs/`` changed (``ROILAKE_PIPELINES=tests.toy``)."""

from roilake.lake.tables import DS, table
from roilake.metrics.registry import Metric, register
from roilake.runtime.pipeline import EvaluationSet, Pipeline, Step, Upstream
from tests.toy.config import ToyConfig

register(Metric("absolute_error", "Absolute error", "probability", -1, "tests.toy.line:absolute_error", leading=0))

POINTS = table(
    "points",
    "Points to draw a line through.",
    key="ds name",
    columns=f"""{DS}
    name string name of the point
    time timestamp when it was seen, UTC
    x double first coordinate
    y double second coordinate""",
)
POINT_PREDICTIONS = table(
    "point_predictions",
    "Second coordinates as the line has them.",
    key="ds name",
    columns=f"""{DS}
    name string name of the point
    predicted double second coordinate on the line""",
)

PIPELINE = Pipeline(
    name="toy",
    title="A line through points",
    config=ToyConfig,
    tables=(POINTS, POINT_PREDICTIONS),
    steps=(
        Step("ingest_points", writes=("points", "quarantine"), reconciles=True),
        Step(
            "fit_line",
            reads=("points", "retrieval.recommendations"),
            writes=("models", "point_predictions", "metrics"),
            trains=True,
        ),
    ),
    evaluated=(EvaluationSet("test", ("all",), "all points", "All points of the night"),),
    served="point_predictions",
    noun="prediction",
    source="points",
    upstreams=(Upstream("retrieval", "recommendations", "counted beside the points", optional=True),),
    checks="tests.toy.line:checks",
    sections=("tests.toy.page:section",),
    volume="tests.toy.page:volume",
    jobs="tests.toy.jobs",
)
