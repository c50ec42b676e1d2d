"""Writes the generated blocks of README.md and docs/claims.md from the committed studies.

  python docs/blocks.py            rewrite the blocks
  python docs/blocks.py --check    list the blocks that are out of date, and exit with status 1

A block is the text between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. Its numbers are from
results/STUDY/report/metrics.json, results/imdb/scores/study.json and results/probe.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.rendering import markdown, probe_page, tables  # noqa: E402
from pipeline.rendering.format import listed  # noqa: E402

Metrics = dict[str, Any]
Row = Sequence[str]

PAGES = (ROOT / "README.md", ROOT / "docs" / "claims.md")
HEADER = ("claim", "where", "what we measured", "verdict")
# The studies of one task by their fraction of the training reviews.
FRACTIONS = {"imdb_small": "10 %", "imdb_third": "30 %", "imdb": "100 %"}
KERAS = "Keras LSTM on IMDB"
ARTICLE = "RNN vs GRU vs LSTM on IMDB"
GUIDE = "RNN, LSTM, GRU: a guide"
CHUNG = "Chung et al. 2014"


def committed() -> dict[str, Metrics]:
    """{study: metrics.json} of every committed study."""
    paths = sorted(ROOT.glob("results/*/report/metrics.json"))
    return {path.parents[1].name: json.loads(path.read_text("utf-8")) for path in paths}


def blocks(studies: Mapping[str, Metrics]) -> dict[str, str]:
    """{name: Markdown} of all blocks, from the metrics of each study."""
    study = json.loads((ROOT / "results/imdb/scores/study.json").read_text("utf-8"))
    return {
        **markdown.readme_blocks(studies["imdb"], study),
        "printed": markdown.rows(tables.published(studies["article"])),
        "claims": markdown.rows(tables.Table("", HEADER, claims(studies))),
    }


def rewrite(text: str, contents: Mapping[str, str]) -> str:
    """The page `text` with the content of each of its blocks replaced."""
    for name, content in contents.items():
        before, begin, rest = text.partition(f"<!-- {name}:begin -->\n")
        _, end, after = rest.partition(f"\n<!-- {name}:end -->")
        if end:
            text = before + begin + content + end + after
    return text


def names(text: str) -> list[str]:
    """The names of the blocks in a page, in their order."""
    return re.findall(r"<!-- (\w+):begin -->", text)


def claims(studies: Mapping[str, Metrics]) -> list[Row]:
    """The rows of the table of claims: what the articles claim, and what a study measured."""
    fractions = {share: studies[study] for study, share in FRACTIONS.items()}
    return [
        _single_runs(studies["article"]),
        *_ranges(studies["keras_lstm"]),
        _masking(studies["keras_lstm"]),
        _lengths(studies["lengths"]),
        _chorales(studies["chorales"]),
        _less_data(fractions),
        *_limits(ROOT / "results/probe"),
    ]


def _verdict(low: float, high: float) -> str:
    """The verdict on a claim that a gap is positive, from the interval of the gap."""
    return "holds" if low > 0 else "the other way round" if high < 0 else "not shown"


def _gap(metrics: Metrics, recipe: str, a: str, b: str) -> tuple[float, float, float]:
    """The gap a - b of a recipe and the limits of its 95 % interval, as fractions."""
    for row in metrics["recipe_gaps"]:
        if row["recipe"] == recipe and (row["a"], row["b"]) == (a, b):
            return row["gap"], row["low"], row["high"]
        if row["recipe"] == recipe and (row["a"], row["b"]) == (b, a):
            return -row["gap"], -row["high"], -row["low"]
    raise KeyError(f"{recipe}: {a} and {b}")


def _points(gap: float, low: float, high: float) -> str:
    texts = [f"{100 * number:.2f}".replace("-", "−") for number in (gap, low, high)]
    return f"{texts[0]} points [{texts[1]}, {texts[2]}]"


def _single_runs(metrics: Metrics) -> Row:
    cells = [
        f"{row['arm']} {row['ours']['mean']:.4f} ± {row['ours']['sd']:.4f}"
        for row in metrics["printed"]
    ]
    gap = _gap(metrics, "article", "lstm", "gru")
    seeds = metrics["printed"][0]["n"]
    return (
        "one run each, .8100, .8272 and .8390: the LSTM wins",
        ARTICLE,
        f"{seeds} seeds each: {listed(cells)}; lstm − gru {_points(*gap)}",
        _verdict(*gap[1:]),
    )


def _ranges(metrics: Metrics) -> list[Row]:
    rows = []
    for arm, name, low, high in (
        ("lstm", "an LSTM of 64 units", 0.88, 0.92),
        ("bi_lstm", "a bidirectional LSTM", 0.92, 0.94),
    ):
        runs = metrics["arms"][arm]["recipes"]["lstm64"]
        mean = runs["mean"]
        scores = f"{mean:.4f} ({runs['min']:.4f} to {runs['max']:.4f})"
        rows.append(
            (
                f"{name} reaches {100 * low:.0f} to {100 * high:.0f} %",
                KERAS,
                f"last 200 tokens, {runs['n']} seeds: {scores}",
                "below the range" if mean < low else "above the range" if mean > high else "holds",
            )
        )
    return rows


def _masking(metrics: Metrics) -> Row:
    recipes = {arm: metrics["arms"][arm]["recipes"] for arm in ("rnn", "gru", "lstm")}
    pairs = {arm: (runs["lstm64"], runs["lstm64_masked"]) for arm, runs in recipes.items()}
    means = [f"{arm} {a['mean']:.4f} → {b['mean']:.4f}" for arm, (a, b) in pairs.items()]
    better = sum(masked["min"] > unmasked["max"] for unmasked, masked in pairs.values())
    return (
        "mask the padding",
        KERAS,
        f"unmasked → masked, {pairs['lstm'][0]['n']} seeds: {listed(means)}",
        f"every masked seed above every other in {better} of 3 cells",
    )


def _lengths(metrics: Metrics) -> Row:
    recipes = metrics["arms"]["rnn"]["recipes"]
    gaps = {name.removeprefix("length_"): _gap(metrics, name, "lstm", "rnn") for name in recipes}
    measured = "; ".join(f"{length}: {_points(*gap)}" for length, gap in gaps.items())
    return (
        "SimpleRNN is much worse on long sequences",
        GUIDE,
        f"lstm − rnn by tokens, {next(iter(recipes.values()))['n']} seeds: {measured}",
        "; ".join(f"{length}: {_verdict(*gap[1:])}" for length, gap in gaps.items()),
    )


def _chorales(metrics: Metrics) -> Row:
    cells = [f"{arm} {-values['tuned']['mean']:.2f}" for arm, values in metrics["arms"].items()]
    # Gaps that are not positive first, each with its better cell first.
    pairs = sorted(metrics["pairs"], key=lambda pair: pair["gap"] > 0)
    orders = [
        (pair["a"], pair["b"]) if pair["gap"] > 0 else (pair["b"], pair["a"]) for pair in pairs
    ]
    verdicts = [
        f"{better} over {worse}: {pair['verdict'].replace('_', ' ')}"
        for (better, worse), pair in zip(orders, pairs, strict=True)
    ]
    return (
        "GRU 8.54 ≈ LSTM 8.67, both ahead of tanh 9.10 nats per step (JSB Chorales)",
        CHUNG,
        f"other Bach chorales, another step: a search of {metrics['budget']} trials picks "
        f"{listed(cells)} nats per step",
        "; ".join(verdicts),
    )


def _less_data(fractions: Mapping[str, Metrics]) -> Row:
    measured, verdicts = [], []
    for share, metrics in fractions.items():
        pair = next(pair for pair in metrics["pairs"] if {pair["a"], pair["b"]} == {"gru", "lstm"})
        sign = 1 if pair["a"] == "gru" else -1
        low, high = sorted((sign * pair["low"], sign * pair["high"]))
        gap = _points(sign * pair["gap"], low, high)
        measured.append(f"{share}, search of {metrics['budget']}: {gap}")
        verdicts.append(f"{share}: {_verdict(low, high)}")
    return (
        "a GRU beats an LSTM on less training data",
        GUIDE,
        f"gru − lstm, what a search picks, by share of the training reviews: {'; '.join(measured)}",
        "; ".join(verdicts),
    )


def _limits(folder: Path) -> list[Row]:
    """The limits that the guides list, as the probe measured them."""
    measured, facts = probe_page.read(folder)
    cells = facts["settings"]["cells"]
    base = cells[0]
    factors = probe_page.factors(measured, "initial")
    times, parameters = (
        probe_page.at_longest(measured, key) for key in ("milliseconds", "parameters")
    )
    memory = probe_page.slopes(measured, "mebibytes")
    ratios = [
        f"{cell} {times[cell] / times[base]:.1f} and {memory[cell] / memory[base]:.1f}"
        for cell in cells[1:]
    ]
    reach = probe_page.reach(measured, cells)
    longer = [cell for cell in cells[1:] if reach[cell] > reach[base]]
    bounded, clipped = probe_page.bounded(measured["clipping"])
    largest = measured["clipping"]["gradient"].max()
    dearer = [
        cell for cell in cells[1:] if times[cell] > times[base] and memory[cell] > memory[base]
    ]
    return [
        (
            "gradients vanish, soonest in SimpleRNN",
            GUIDE,
            "factor a step back at the initial weights: "
            + probe_page.numbers_text(factors, "{:.2f}"),
            f"{min(factors, key=lambda cell: factors[cell])} loses it soonest",
        ),
        (
            "gated cells remember longer",
            GUIDE,
            f"9 of 10 symbols recalled: {probe_page.reach_text(measured, cells)}",
            f"holds for {listed(longer)}" if longer else "not shown",
        ),
        (
            "clipping bounds the update",
            GUIDE,
            f"{bounded} of {clipped} clipped steps within their bound, of gradients up to "
            f"{largest:,.3g}",
            "holds" if bounded == clipped else "does not hold",
        ),
        (
            "gates cost time and memory",
            GUIDE,
            f"time of a training step on {probe_page.longest(measured)} steps, and its memory for "
            f"each further step, in those of {base}: {listed(ratios)}; parameters: "
            + probe_page.numbers_text({cell: parameters[cell] for cell in cells}, "{:,.0f}"),
            f"holds for {listed(dearer)}" if dearer else "not shown",
        ),
    ]


def main() -> None:
    """Rewrite the pages, or with --check list those that are out of date."""
    contents, stale = blocks(committed()), []
    for page in PAGES:
        text = page.read_text("utf-8")
        current = rewrite(text, contents)
        if current != text:
            stale.append(str(page.relative_to(ROOT)))
            if "--check" not in sys.argv:
                page.write_text(current, "utf-8")
    print("\n".join(stale) or "every block is up to date")
    sys.exit(1 if stale and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
