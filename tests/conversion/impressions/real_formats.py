"""Some twenty rows in each real format that a config reads, made up here: the files' names, separators, headers and odd
corners are those of the real ones."""

from __future__ import annotations

from pathlib import Path

CHOSEN = [[0, 5, 0, 2], [4, 0, 0, 0], [0, 0, 3, 0], [1, 0, 0, 5], [0, 4, 0, 0]]
DRAWN = [[3, 5, 0, 0], [0, 4, 0, 1], [5, 0, 0, 0], [0, 0, 2, 4], [0, 0, 4, 0]]
"""Stars of five users for four coats, 0 for none. Two that were drawn, (0, 1) and (3, 3), were chosen too."""


def write_formats(folder: Path) -> None:
    """All files below ``folder``, as they lie below ``$ROILAKE_DATA``."""
    for name, text in (_coat() | _kuairand() | _hillstrom() | _open_bandit() | _ali_ccp() | _aliexpress()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _coat() -> dict[str, str]:
    """Matrices of numbers; features are groups of one-hot columns."""

    def matrix(rows: list[list[int]]) -> str:
        return "\n".join(" ".join(map(str, row)) for row in rows) + "\n"

    users = [[int(k in (0, 2 + user, 8, 11)) for k in range(14)] for user in range(5)]
    items = [[int(k in (1, 2 + item, 18, 31)) for k in range(33)] for item in range(4)]
    features = "coat/user_item_features"
    return {
        "coat/train.ascii": matrix(CHOSEN),
        "coat/test.ascii": matrix(DRAWN),
        f"{features}/user_features.ascii": matrix(users),
        f"{features}/item_features.ascii": matrix(items),
    }


def _kuairand() -> dict[str, str]:
    """One long view without a click, and one row twice."""
    head = (
        "user_id video_id date hourmin time_ms is_click is_follow is_comment is_forward long_view play_time_ms "
        "duration_ms comment_stay_time is_profile_enter label timestamp"
    )
    rows = [
        (n % 4, 100 + n, 20220408 + n % 14, 1700, 1649376000000 + n * 86_400_000 * 13 // 20, int(n % 2 == 0), 0, 0, 0,
         int(n % 4 == 0 or n == 3), 100, 45916, 0, 0, 1, "x")
        for n in range(20)
    ]  # fmt: skip
    rows.append(rows[-1])
    users = (
        "user_id,user_active_degree,follow_user_num_range,fans_user_num_range,friend_user_num_range,register_days_range,"
        "onehot_feat1,onehot_feat2,onehot_feat6,onehot_feat9,onehot_feat10"
    )
    return {
        "kuairand/processed_standard_kcore_15.tsv": _lines(head.split(), rows, "\t"),
        "kuairand/user_features_pure.csv": _lines(
            [users],
            [(user, "full_active", "500+", '"[100,1k)"', '"[1,5)"', "730+", 1, 2, 3, 4, 5) for user in range(4)],
        ),
    }


def _hillstrom() -> dict[str, str]:
    """No ids: two customers are alike in all that is known."""
    head = "recency,history_segment,history,mens,womens,zip_code,newbie,channel,segment,visit,conversion,spend"
    mails = ("Womens E-Mail", "No E-Mail", "Mens E-Mail")
    rows = [
        (n, "2) $100 - $200", 100 + n, 1, 0, "Surburban", 0, "Phone", mails[n % 3], int(n % 4 == 0), int(n % 8 == 0), 0)
        for n in range(19)
    ]
    return {"hillstrom/hillstrom.csv": _lines([head], [*rows, rows[1]])}


def _open_bandit() -> dict[str, str]:
    """Twenty visits by each policy, ten candidates; a click follows every fifth."""
    head = [
        "",
        "timestamp",
        "item_id",
        "position",
        "click",
        "propensity_score",
        *(f"user_feature_{k}" for k in range(4)),
    ]

    def visits(shift: int) -> str:
        rows = [
            (n, f"2019-11-{24 + n % 7} 00:03:13.442536+00:00", (n + shift) % 10, 1 + n % 3, int(n % 5 == 0), 0.1, "a",
            "b",
             f"c{n % 4}", "d")
            for n in range(20)
        ]  # fmt: skip
        return _lines(head, rows)

    items = _lines(
        ["", "item_id", *(f"item_feature_{k}" for k in range(4))],
        [(n, n, -0.5, "x", f"y{n % 3}", "z") for n in range(10)],
    )
    return {
        "open_bandit_men/bts/men.csv": visits(0),
        "open_bandit_men/random/men.csv": visits(3),
        "open_bandit_men/bts/item_context.csv": items,
    }


def _ali_ccp() -> dict[str, str]:
    """Tables of numbered fields, of which two rows are equal, and lines of FIELD:FEATURE cells without field 126."""
    numbers = "101 121 122 124 125 126 127 128 129 205 206 207 210 216 508 509 702 853 301 109_14 110_14 127_14 150_14"
    head = ["click", "purchase", *numbers.split(), "D109_14"]
    rows = [
        (int(n % 3 == 0), int(n % 6 == 0), *((n + k) % 5 for k in range(len(numbers.split()))), 0.5) for n in range(19)
    ]
    fields = "101 121 122 124 125 127 128 129 205 206 207 210 216 301 508 509 702 853"
    cells = [",".join(f"{f}:{n + k}" for k, f in enumerate(fields.split())) for n in range(20)]
    text = [f"{n},{int(n % 3 == 0)},{int(n % 6 == 0)},210:999,{line}" for n, line in enumerate(cells)]
    folder = "funnel_samples/aliccp"
    return {
        f"{folder}/torch-rechub/ali_ccp_train_sample.csv": _lines(head, rows),
        f"{folder}/torch-rechub/ali_ccp_val_sample.csv": _lines(head, rows[:1]),
        f"{folder}/paddlerec/esmm_small.txt": "\n".join(text) + "\n",
    }


def _aliexpress() -> dict[str, str]:
    head = ["search_id", *(f"categorical_{k}" for k in range(1, 17)), "numerical_1", "click", "conversion"]
    rows = [(n // 3, *((n * k) % 7 for k in range(1, 17)), 0.5, int(n % 2 == 0), int(n % 10 == 0)) for n in range(20)]
    return {"funnel_samples/aliexpress/aliexpress_train_sample.csv": _lines(head, rows)}


def _lines(head: list[str], rows: list[tuple[object, ...]], separator: str = ",") -> str:
    lines = [separator.join(head), *(separator.join(map(str, row)) for row in rows)]
    return "\n".join(lines) + "\n"
