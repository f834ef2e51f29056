"""Two hundred damaged configs: each is read as what it still says, or one line tells what to mend."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from roilake.errors import RoilakeError
from roilake.runtime.registry import load_config

CONF = Path(__file__).parents[1] / "conf"
NIGHTS = sorted(CONF.glob("nights/*/*.yaml"))
JUNK = [
    *("null", "-1", "[]", "{a: b}", ".inf", "1e400", "''", '"\\0"', "x" * 5000, "2020-13-45", "${HOME}", "~", "yes"),
    *("!!python/object:os.system {}", "0x1F", "*nowhere", "&a [*a]", "é", "\u202e", "1_000", "- 1"),
]


def damaged(text: str, draw: random.Random) -> bytes:
    """The text with one to three faults of the kinds that people and disks make."""
    lines = text.splitlines()
    for _ in range(draw.randint(1, 3)):
        where, kind = draw.randrange(len(lines)), draw.randrange(9)
        line = lines[where]
        if kind == 0:
            del lines[where]
        elif kind == 1:
            lines.insert(draw.randrange(len(lines)), line)
        elif kind in (2, 3) and ":" in line:
            lines[where] = f"{line.partition(':')[0]}: {draw.choice(JUNK)}"
        elif kind == 4:
            lines[where] = draw.choice((" ", "\t", "  ")) + line
        elif kind == 5:
            lines[where] = line[: draw.randrange(len(line) + 1)]
        elif kind == 6 and ":" in line:
            lines[where] = line.replace(":", "s:", 1)
        elif kind == 7:
            at = draw.randrange(len(line) + 1)
            lines[where] = line[:at] + chr(draw.choice((0, 7, 34, 39, 91, 123, 58, 35, 0xFFFD))) + line[at:]
        lines = lines or [""]
    found = "\n".join(lines).encode()
    return found if draw.random() > 0.1 else found[: len(found) // 2] + b"\xff\xfe" + found[len(found) // 2 :]


def test_a_damaged_config_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    for name in ("gates", "presets"):
        (tmp_path / name).symlink_to(CONF / name)
    folder = tmp_path / "nights" / "any"
    folder.mkdir(parents=True)
    outcomes: Counter[str] = Counter()
    for seed in range(200):
        source = NIGHTS[seed % len(NIGHTS)]
        file = folder / f"{seed}.yaml"
        file.write_bytes(damaged(source.read_text(), random.Random(seed)))
        try:
            load_config(file)
            outcomes["read"] += 1
        except RoilakeError as error:
            outcomes["refused"] += 1
            message = str(error)
            assert "\n" not in message and str(file) in message, (seed, message)
            assert len(message) < 1000, (seed, message)
        except BaseException as error:
            pytest.fail(f"seed {seed}, {source.name}: {type(error).__name__}: {error}")
    assert outcomes.total() == 200 and min(outcomes.values()) > 20, outcomes
