"""No secret stands in a text that leaves the process, and none comes in by a config."""

from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError

from roilake.config import FileSource
from roilake.log import configure
from roilake.masking import masked

SECRETS = [
    ("s3a://KEY:SECRET@bucket/x.csv", "s3a://***@bucket/x.csv"),
    ("s3a:/KEY:SEC/RET+x=@bucket/x.csv", "s3a:/***@bucket/x.csv"),  # as Path() writes it
    ("s3a://:SECRET@bucket", "s3a://***@bucket"),
    ("https://user:SECRET@host/x?page=1", "https://***@host/x?page=1"),
    ("https://SECRET@host/x", "https://***@host/x"),
    ("wasbs://c@a.blob.core.windows.net/x?sv=1&sig=SECRET%3D&se=2", "wasbs://c@a.blob.core.windows.net/x?sv=1&sig=***&se=2"),
    ("s3a://b/x?X-Amz-Credential=SECRET&X-Amz-Signature=SECRET", "s3a://b/x?X-Amz-Credential=***&X-Amz-Signature=***"),
]  # fmt: skip
SETTINGS = [
    "fs.s3a.secret.key",
    "fs.s3a.access.key",
    "fs.azure.account.key.acc.dfs.core.windows.net",
    "password",
    "sasToken",
]
NONE = [
    "hdfs://name:8020/data/a@b",
    "abfss://container@account.dfs.core.windows.net/x",
    "/data/a:b@c.csv",
    "s3a://bucket/2020-01-01T10:00:00@x?page=2",
    "columns are `user_id:token`, `item_id:token`, `rating:float`",
    "monkey: 3, key: user_id",
]


@pytest.mark.parametrize(("path", "shown"), SECRETS)
def test_a_secret_in_a_path_is_masked_and_refused(path: str, shown: str) -> None:
    assert masked(f"{path} is not there") == f"{shown} is not there"
    assert masked(masked(path)) == shown
    with pytest.raises(ValidationError) as refused:
        FileSource(path=path, format="csv")
    message = refused.value.errors()[0]["msg"]
    assert "holds a secret" in message and "AWS_SECRET_ACCESS_KEY" in message and "SECRET@" not in message


@pytest.mark.parametrize("name", SETTINGS)
def test_a_secret_setting_is_masked_and_refused(name: str) -> None:
    for text in (f"{name}=SECRET, x", f'{{"{name}": "SECRET", "x": 1}}', f"--conf spark.hadoop.{name}=SECRET"):
        assert "SECRET" not in masked(text) and "***" in masked(text)
    with pytest.raises(ValidationError, match=f"options.{name} is a secret"):
        FileSource(path="x.csv", format="csv", options={name: "SECRET"})


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text
    FileSource(path=text, format="csv", options={"header": "true", "sep": ";", "escape": '"', "quote": "'"})


@pytest.mark.parametrize("form", ["auto", "json"])
def test_no_log_line_holds_a_secret(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger("roilake").handlers
    configure(form)  # type: ignore[arg-type]
    logging.getLogger("roilake.test").info("reads %s", "s3a://KEY:SECRET@bucket/x")
    logging.getLogger("roilake").handlers = before
    assert "reads s3a://***@bucket/x" in capfd.readouterr().err
