"""Jobs under spark-submit on a real cluster of this machine: a standalone master and two workers, each a JVM of its
own with executors of its own, and the code shipped as the README says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyspark
import pytest
import yaml
from safetensors.numpy import load_file

from roilake.lake import Lake
from roilake.lake.session import SMALL_NIGHT
from roilake.pipelines.retrieval.config import RetrievalConfig
from tests.retrieval.roi import small_lake
from tests.retrieval.training import test_train_models as small_training

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
ROOT = Path(__file__).parents[1]
# As conf/spark/cluster.conf says. This machine's own name may not lead back to it, hence the address.
QUICK = SMALL_NIGHT["spark.driver.extraJavaOptions"]
ENVIRONMENT = os.environ | {
    "PYSPARK_PYTHON": f"{ROOT}/.venv/bin/python",
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_DAEMON_MEMORY": "256m",
    "SPARK_DAEMON_JAVA_OPTS": QUICK,
}
PROBE = """
import json, os
from roilake.lake.session import spark_session

def look(_):
    import roilake
    from roilake.pipelines.retrieval.roi import kernel
    yield os.getcwd(), os.path.abspath(roilake.__file__), os.path.abspath(kernel.__file__)

context = spark_session("probe").sparkContext
print(json.dumps(context.parallelize(range(8), 8).mapPartitions(look).collect()))
"""


@contextmanager
def daemon(role: str, log: Path, *arguments: str) -> Iterator[None]:
    """A Spark daemon in a process group of its own, which ends with it."""
    command = [f"{pyspark.__path__[0]}/bin/spark-class", f"org.apache.spark.deploy.{role}", *arguments]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=ENVIRONMENT, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(log: Path, pattern: str, count: int = 1) -> str:
    """The first group of the last match, as soon as the log has ``count`` of them."""
    found: list[str] = []
    for _ in range(600):
        found = re.findall(pattern, log.read_text()) if log.exists() else []
        if len(found) >= count:
            return found[-1]
        time.sleep(0.1)
    raise TimeoutError(f"{log}: {len(found)} of {count} {pattern!r} in a minute: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a master with two workers of one core and one GiB each."""
    folder = tmp_path_factory.mktemp("cluster")
    address = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
    size = ("--cores", "1", "--memory", "1g")
    with ExitStack() as daemons:
        daemons.enter_context(daemon("master.Master", folder / "master.log", *address))
        url = wait_for(folder / "master.log", r"Starting Spark master at (spark://\S+)")
        for number in (1, 2):
            work = ("--work-dir", f"{folder}/work{number}", url)
            daemons.enter_context(daemon("worker.Worker", folder / f"{number}.log", *address, *size, *work))
        wait_for(folder / "master.log", r"Registering worker (\S+)", count=2)
        yield url


@pytest.fixture(scope="module")
def submit(cluster: str) -> Callable[..., Any]:
    """``submit(script, *arguments)`` runs it on the cluster, or on another ``master``, and gives the last line of
    stdout as JSON."""
    subprocess.run(["make", "bundle"], cwd=ROOT, check=True, capture_output=True, timeout=300)
    small = ("executor.cores=1", "executor.memory=1g", "driver.memory=1g", "sql.shuffle.partitions=4")
    small += tuple(f"{each}.extraJavaOptions={QUICK}" for each in ("driver", "executor"))

    def run(script: str, *arguments: str, master: str | None = None) -> Any:
        command = [
            ".venv/bin/spark-submit",
            "--master",
            master or cluster,
            "--properties-file",
            "conf/spark/cluster.conf",
        ]
        command += [part for setting in small for part in ("--conf", f"spark.{setting}")]
        command += ["--archives", "dist/roilake-code.tar.gz#roilake_code", script, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-5000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Without Spark, which the cluster has: these tests run beside those that share this run's session."""
    return Lake(None, tmp_path / "lake")


def job_arguments(lake: Lake, config: RetrievalConfig, ds: object) -> list[str]:
    conf = Path(lake.path).parent / "night.yaml"
    conf.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    return ["--ds", str(ds), "--conf", str(conf), "--lake", lake.path]


def test_executors_import_the_code_that_was_shipped(submit: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    seen = submit(f"{tmp_path}/probe.py")
    assert len({folder for folder, _, _ in seen}) == 2  # an executor on each worker, in a folder of its own
    for folder, *files in seen:
        assert files == [
            f"{folder}/roilake_code/roilake/{name}.py" for name in ("__init__", "pipelines/retrieval/roi/kernel")
        ]


def test_build_rois_gives_the_rows_of_its_definition(submit: Callable[..., Any], lake: Lake) -> None:
    night, config = small_lake.write_tables(lake), small_lake.night_config()
    result = submit("jobs/retrieval/build_rois.py", *job_arguments(lake, config, small_lake.DS))
    assert result["details"]["plan"] == "local" and result["rows_out"] > 0
    assert small_lake.content(lake) == night.expected(config)


def test_train_models_runs_on_two_executors(submit: Callable[..., Any], lake: Lake) -> None:
    tree = small_training.CONFIG.model_dump(mode="json")
    tree["training"]["workers"], tree["models"] = 2, {"zoomer": tree["models"]["zoomer"]}
    config, ds = RetrievalConfig.model_validate(tree), small_training.DS
    small_training.write_tables(lake, ds, None, users=10, items=15)
    weights = []
    for master in ("local[2]", None):
        submit("jobs/retrieval/train_models.py", *job_arguments(lake, config, ds), master=master)
        paths = {name: row["path"] for name, row in small_training.rows_of(lake, ds).items()}
        weights.append(load_file(lake.files.local(f"{paths['zoomer']}/weights.safetensors")))
    one, other = weights
    assert one.keys() == other.keys() and len(one) > 0
    assert all(np.abs(one[name] - other[name]).max() < 1e-5 for name in one)
