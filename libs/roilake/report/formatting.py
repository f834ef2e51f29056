"""Numbers and words as people read them."""

from __future__ import annotations

import re
import unicodedata

UNITS = ("B", "kB", "MB", "GB", "TB")
_NOT_SHOWN = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories that break a line, drive a terminal or cannot be written."""


def plain(text: str, most: int | None = None) -> str:
    """Any text on one line, without characters that are not shown; of more than ``most`` characters the middle is left
    out, for names mostly differ at their ends."""
    shown = "".join(" " if unicodedata.category(char) in _NOT_SHOWN else char for char in text)
    line = re.sub(" +", " ", shown).strip(" ")
    if most is None or len(line) <= most:
        return line
    return f"{line[: most - most // 3 - 1]}…{line[len(line) - most // 3 :]}"


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
