"""Secrets in texts: no table, log, page or error line may hold one, and no config may bring one in."""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "***"
HINT = (
    "a config is published with its night: give secrets by the environment (AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY for s3a) or in a Spark profile (--profile)"
)
_WORDS = (
    r"secret|passw(?:or)?d|passphrase|token|credentials?|signature|"
    r"(?:access|account|api|private|encryption|shared)[._-]?key"
)
_NAME = rf"[\w.-]*(?:{_WORDS})[\w.-]*"
# What stands before the @ of a URL (Path() drops one of its slashes). Digits behind a host are its port:
# hdfs://name:8020/a@b. A name without a secret is a container's (abfss://CONTAINER@ACCOUNT), but for the web a token.
_LOGIN = re.compile(r"(\w:/{1,3})[^\s/:@'\"]*:(?!\d+/)[^\s@'\"]+@", re.IGNORECASE)
_TOKEN = re.compile(r"(\bhttps?:/{1,3})[^\s/:@'\"]+@", re.IGNORECASE)
_QUERY = re.compile(rf"([?&;](?:{_NAME}|sig|key|auth)=)[^\s&;#'\"]+", re.IGNORECASE)
_SETTING = re.compile(rf"(\b{_NAME}[\"']?\s*[=:]\s*[\"']?)(?!{re.escape(MASK)})[^\s\"',;&}}]+", re.IGNORECASE)
_OPTION = re.compile(_NAME, re.IGNORECASE)


def masked(text: str) -> str:
    """The text with ``***`` for every secret: logins and signed queries of URLs, values of settings whose name says
    that they are secret (``fs.s3a.secret.key=...``)."""
    for pattern in (_LOGIN, _TOKEN):
        text = pattern.sub(rf"\1{MASK}@", text)
    for pattern in (_QUERY, _SETTING):
        text = pattern.sub(rf"\1{MASK}", text)
    return text


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret."""
    return _OPTION.fullmatch(name) is not None


def secret_in(path: str, options: Mapping[str, str]) -> str | None:
    """What in a source is secret, as a line that shows nothing of it; None where nothing is."""
    if any(pattern.search(path) for pattern in (_LOGIN, _TOKEN, _QUERY)):
        return f"path {masked(path)!r} holds a secret; {HINT}"
    name = next(filter(is_secret, options), None)
    return f"options.{name} is a secret; {HINT}" if name else None
