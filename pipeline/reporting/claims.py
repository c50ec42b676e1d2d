"""What the tutorials claim, and what the committed studies measured of it: the README's table of claims.

Every number comes from a study's metrics.json or from the probe's tables; every verdict is computed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.reporting import limits_page
from pipeline.reporting.sheets import Table
from pipeline.reporting.words import listed

Metrics = dict[str, Any]

# Studies by their share of the training reviews.
SHARES = {"imdb_small": "10 %", "imdb_third": "30 %", "imdb": "100 %"}
HEADER = ("claim", "where", "what we measured", "verdict")
KERAS, ARTICLE, GUIDE, CHUNG = (
    "Keras LSTM on IMDB",
    "RNN vs GRU vs LSTM on IMDB",
    "RNN, LSTM, GRU: a guide",
    "Chung et al. 2014",
)


def table(results: Path, anew: Mapping[str, Metrics] | None = None) -> Table:
    """The claims, a row each, from `results`, the folder of the committed studies and of the probe; those of no study yet are left out.

    `anew` are metrics that take the place of a study's own.
    """
    told = {path.parents[1].name: json.loads(path.read_text()) for path in sorted(results.glob("*/report/metrics.json"))}
    told |= anew or {}
    rows: list[Sequence[str]] = []
    for study, answers in (
        ("article", _printed),
        ("keras_lstm", _ranges),
        ("keras_lstm", _masking),
        ("lengths", _lengths),
        ("chorales", _music),
    ):
        rows += answers(told[study]) if study in told else []
    shares = {share: told[study] for study, share in SHARES.items() if study in told}
    rows += [_fractions(shares)] if len(shares) > 1 else []
    return Table("", HEADER, rows + (_limits(results / "probe") if (results / "probe").is_dir() else []))


def _holds(low: float, high: float) -> str:
    """What an interval of a gap that is claimed to be positive says of the claim."""
    return "holds" if low > 0 else "the other way round" if high < 0 else "not shown"


def _gap(metrics: Metrics, recipe: str, a: str, b: str) -> tuple[float, float, float]:
    """The gap a minus b of a recipe's seeds in points, with its 95 % interval."""
    for one in metrics["recipe_gaps"]:
        if one["recipe"] == recipe and {one["a"], one["b"]} == {a, b}:
            low, high = one["low"], one["high"]
            return (one["gap"], low, high) if one["a"] == a else (-one["gap"], -high, -low)
    raise KeyError(f"{recipe}: {a} and {b}")


def _points(gap: tuple[float, float, float]) -> str:
    value, low, high = (f"{100 * number:.2f}".replace("-", "−") for number in gap)
    return f"{value} points [{low}, {high}]"


def _runs(values: Metrics) -> str:
    return f"{values['mean']:.4f} ({values['min']:.4f} to {values['max']:.4f})"


def _printed(metrics: Metrics) -> list[Sequence[str]]:
    cells = [f"{one['arm']} {one['ours']['mean']:.4f} ± {one['ours']['sd']:.4f}" for one in metrics["printed"]]
    gap = _gap(metrics, "article", "lstm", "gru")
    seeds = metrics["printed"][0]["n"]
    return [
        (
            "one run each, .8100, .8272 and .8390: the LSTM wins",
            ARTICLE,
            f"{seeds} seeds each: {listed(cells)}; lstm − gru {_points(gap)}",
            _holds(*gap[1:]),
        )
    ]


def _ranges(metrics: Metrics) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for arm, name, low, high in (("lstm", "an LSTM of 64 units", 0.88, 0.92), ("bi_lstm", "a bidirectional LSTM", 0.92, 0.94)):
        runs = metrics["arms"][arm]["recipes"]["lstm64"]
        place = "below" if runs["mean"] < low else "above" if runs["mean"] > high else "within"
        claim = f"{name} reaches {100 * low:.0f} to {100 * high:.0f} %"
        measured = f"last 200 tokens, {runs['n']} seeds: {_runs(runs)}"
        rows.append((claim, KERAS, measured, "holds" if place == "within" else f"{place} the range"))
    return rows


def _masking(metrics: Metrics) -> list[Sequence[str]]:
    told = []
    for arm in ("rnn", "gru", "lstm"):
        recipes = metrics["arms"][arm]["recipes"]
        told.append(f"{arm} {recipes['lstm64']['mean']:.4f} → {recipes['lstm64_masked']['mean']:.4f}")
    better = sum(
        metrics["arms"][arm]["recipes"]["lstm64_masked"]["min"] > metrics["arms"][arm]["recipes"]["lstm64"]["max"]
        for arm in ("rnn", "gru", "lstm")
    )
    seeds = metrics["arms"]["lstm"]["recipes"]["lstm64"]["n"]
    return [
        (
            "mask the padding",
            KERAS,
            f"unmasked → masked, {seeds} seeds: {listed(told)}",
            f"every masked seed above every other in {better} of 3 cells",
        )
    ]


def _fractions(shares: dict[str, Metrics]) -> Sequence[str]:
    told, words = [], []
    for share, metrics in shares.items():
        pair = next(pair for pair in metrics["pairs"] if {pair["a"], pair["b"]} == {"gru", "lstm"})
        sign = 1 if pair["a"] == "gru" else -1
        low, high = sorted((sign * pair["low"], sign * pair["high"]))
        told.append(f"{share}, search of {metrics['headline']}: {_points((sign * pair['gap'], low, high))}")
        words.append(f"{share}: {_holds(low, high)}")
    return (
        "a GRU beats an LSTM on less training data",
        GUIDE,
        f"gru − lstm, what a search picks, by share of the training reviews: {'; '.join(told)}",
        "; ".join(words),
    )


def _lengths(metrics: Metrics) -> list[Sequence[str]]:
    gaps = {name.removeprefix("length_"): _gap(metrics, name, "lstm", "rnn") for name in metrics["arms"]["rnn"]["recipes"]}
    told = "; ".join(f"{length}: {_points(gap)}" for length, gap in gaps.items())
    seeds = next(iter(metrics["arms"]["rnn"]["recipes"].values()))["n"]
    words = "; ".join(f"{length}: {_holds(*gap[1:])}" for length, gap in gaps.items())
    return [("SimpleRNN is much worse on long sequences", GUIDE, f"lstm − rnn by tokens, {seeds} seeds: {told}", words)]


def _music(metrics: Metrics) -> list[Sequence[str]]:
    pairs = {(pair["a"], pair["b"]): pair for pair in metrics["pairs"]}
    cells = [f"{arm} {-values['tuned']['mean']:.2f}" for arm, values in metrics["arms"].items()]
    verdicts = [f"{b} over {a}: {pair['verdict'].replace('_', ' ')}" for (a, b), pair in pairs.items() if pair["gap"] <= 0]
    verdicts += [f"{a} over {b}: {pair['verdict'].replace('_', ' ')}" for (a, b), pair in pairs.items() if pair["gap"] > 0]
    return [
        (
            "GRU 8.54 ≈ LSTM 8.67, both ahead of tanh 9.10 nats a step (JSB Chorales)",
            CHUNG,
            f"other Bach chorales, another step: a search of {metrics['headline']} trials picks {listed(cells)} nats a step",
            "; ".join(verdicts),
        )
    ]


def _limits(folder: Path) -> list[Sequence[str]]:
    """The guides' table of limits, as the probe measured it."""
    tables, facts = limits_page.read(folder)
    cells = facts["settings"]["cells"]
    factors = limits_page.factors(tables, "initial")
    times, parameters = (limits_page.at_longest(tables, key) for key in ("milliseconds", "parameters"))
    memory = limits_page.slopes(tables, "mebibytes")
    base = cells[0]
    ratios = [f"{cell} {times[cell] / times[base]:.1f} and {memory[cell] / memory[base]:.1f}" for cell in cells[1:]]
    held = limits_page.held(tables, cells)
    longer = [cell for cell in cells[1:] if held[cell] > held[base]]
    clipping = tables["clipping"]
    kept, of = limits_page.bounded(clipping)
    fewer = [cell for cell in cells[1:] if times[cell] > times[base] and memory[cell] > memory[base]]
    return [
        (
            "gradients vanish, soonest in SimpleRNN",
            GUIDE,
            f"factor a step back at the initial weights: {limits_page.listed(factors, '{:.2f}')}",
            f"{min(factors, key=lambda cell: factors[cell])} loses it soonest",
        ),
        (
            "gated cells remember longer",
            GUIDE,
            f"9 of 10 symbols recalled: {limits_page.reaches(tables, cells)}",
            f"holds for {listed(longer)}" if longer else "not shown",
        ),
        (
            "clipping bounds the update",
            GUIDE,
            f"{kept} of {of} clipped steps within their bound, of gradients up to {clipping['gradient'].max():,.3g}",
            "holds" if kept == of else "does not hold",
        ),
        (
            "gates cost time and memory",
            GUIDE,
            f"time of a training step on {limits_page.longest(tables)} steps, and its memory for each further step, in those of {base}: "
            f"{listed(ratios)}; "
            f"parameters: {limits_page.listed({cell: parameters[cell] for cell in cells}, '{:,.0f}')}",
            f"holds for {listed(fewer)}" if fewer else "not shown",
        ),
    ]
