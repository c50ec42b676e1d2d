"""Numbers and lists as text, and the selections that the templates need."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..analysis.types import Pair, Summary
from ..config.validation import as_typed
from ..metrics import measure_of
from ..statistics.decision import BETTER, EQUIVALENT, REFUSED, UNDECIDED, WITHIN, ahead

# Each verdict seen from the better mean: its name, and a sign, so that no colour stands alone.
LABELS = {
    BETTER: "better",
    WITHIN: "better, < margin",
    EQUIVALENT: "equivalent",
    UNDECIDED: "undecided",
    REFUSED: "no verdict",
}
SIGNS = {BETTER: "▲", WITHIN: "△", EQUIVALENT: "≈", UNDECIDED: "?", REFUSED: "×"}
# The overrides that say which run it is, and not how it is trained.
IDENTITY = ("study=", "cell=", "seed=", "split_seed=")


def decimal(value: float | None) -> str:
    """Four decimals; a dash for None."""
    return "–" if value is None else f"{value:.4f}"


def number(value: float) -> str:
    """Six significant digits at most: `1`, `0.5`."""
    return f"{value:.6g}"


def counted(value: float, word: str) -> str:
    """`1 point`, `0.5 points`."""
    return f"{number(value)} {word}{'' if value == 1 else 's'}"


def chance(value: float | None) -> str:
    """A probability with two decimals, never rounded to 0 or 1; a dash for None."""
    if value is None:
        return "–"
    if 0 < value < 0.005:
        return "<0.01"
    return ">0.99" if 0.995 < value < 1 else f"{value:.2f}"


def p_value(value: float) -> str:
    """Four decimals."""
    return "<0.0001" if value < 0.00005 else f"{value:.4f}"


def listed(words: Iterable[str]) -> str:
    """`a, b and c`."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows with a header, in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def level(summary: Summary) -> str:
    """The confidence level of the intervals at one look: `95 %`."""
    return f"{number(100 * (1 - summary['alpha'] / summary['looks']))} %"


def margin(summary: Summary) -> str:
    """`1 point`."""
    return measure_of(summary).margin(summary["margin"])


def settings(values: dict[str, Any]) -> str:
    """`key=value` of each entry, as code."""
    return ", ".join(f"`{key}={as_typed(value)}`" for key, value in values.items())


def oriented(pair: Pair) -> Pair:
    """The pair with the better mean first, so that its gap is not negative."""
    if pair["gap"] >= 0:
        return pair
    turned: dict[str, Any] = {**pair, "a": pair["b"], "b": pair["a"], "gap": -pair["gap"]}
    for low, high in (("low", "high"), ("search_low", "search_high")):
        turned |= {low: -pair[high], high: -pair[low]}  # type: ignore[literal-required]
    mirrored = {"a_beats_b": "a_beats_b", "low": "high", "high": "low"}
    for key, mirror in mirrored.items():
        other = pair[f"probability_{mirror}"]  # type: ignore[literal-required]
        turned[f"probability_{key}"] = None if other is None else 1 - other
    return turned  # type: ignore[return-value]


def open_pairs(summary: Summary) -> list[Pair]:
    """The pairs of the leading arms in which neither arm is better, the better mean first."""
    leaders = set(summary["leaders"])
    pairs = [pair for pair in summary["pairs"] if ahead(pair) is None]
    among = [pair for pair in pairs if {pair["a"], pair["b"]} <= leaders]
    chosen = (
        among if len(leaders) > 1 else [pair for pair in pairs if {pair["a"], pair["b"]} & leaders]
    )
    return [oriented(pair) for pair in chosen]


def best_baseline(summary: Summary) -> str:
    """The kind of the baseline with the highest test score; the first of equals."""
    return max(summary["baseline"], key=lambda kind: summary["baseline"][kind]["test"])


def linear_only(summary: Summary) -> bool:
    """Whether all baselines are linear models of texts."""
    return all("ngrams" in values for values in summary["baseline"].values())


def standing(summary: Summary, test: float) -> dict[str, list[str]]:
    """{above, within, below: arms} whose interval a score is above, within or below.

    In a study without a search, the range of the seeds of the first recipe stands for the interval.
    """
    places: dict[str, list[str]] = {"above": [], "within": [], "below": []}
    for arm, values in summary["arms"].items():
        if "tuned" in values:
            low, high = values["tuned"]["low"], values["tuned"]["high"]
        else:
            recipe = values["recipe"]
            assert recipe is not None
            low, high = recipe["min"], recipe["max"]
        places["above" if test > high else "below" if test < low else "within"].append(arm)
    return {place: arms for place, arms in places.items() if arms}


def versions(summary: Summary) -> dict[str, dict[str, Any]]:
    """The ways of choosing a single run per cell, by their description."""
    single, size = summary.get("single_run", {}), counted(summary["budget"], "trial")
    names = {
        "recipe": f"The {single.get('recipe', {}).get('name')} recipe, not tuned",
        "random": "A random configuration per cell",
        "tuned": f"The best of one search of {size}",
    }
    return {name: single[key] for key, name in names.items() if key in single}


def efficient(summary: Summary, key: str) -> list[str]:
    """The arms that no other arm dominates, that is, matches in both test score and cost `key`."""
    arms = {
        arm: (values["tuned"]["mean"], -values[key])  # type: ignore[literal-required]
        for arm, values in summary["arms"].items()
    }

    def dominated(arm: tuple[float, float]) -> bool:
        return any(
            other != arm and other[0] >= arm[0] and other[1] >= arm[1] for other in arms.values()
        )

    return [arm for arm, values in arms.items() if not dominated(values)]


def published_range(summary: Summary, study: dict[str, Any]) -> list[dict[str, Any]]:
    """The published scores of the first recipe, and the range of our seeds, as shown to readers."""
    measure = measure_of(summary)
    name = summary.get("single_run", {}).get("recipe", {}).get("name")
    cells = study.get("printed", {}).get(name, {})
    rows = []
    for arm, values in summary["arms"].items():
        if measure.metric in cells.get(arm, {}) and (recipe := values["recipe"]):
            low, high = sorted((measure.shown(recipe["min"]), measure.shown(recipe["max"])))
            score = cells[arm][measure.metric]
            place = "above" if score > high else "below" if score < low else "within"
            rows.append({"arm": arm, "score": score, "place": place, "low": low, "high": high})
    return rows if len(rows) > 1 else []


def without_identity(overrides: Sequence[str]) -> str:
    """The overrides of a run that say how it is trained, on one line."""
    return " ".join(override for override in overrides if not override.startswith(IDENTITY))


def likely(values: Mapping[str, Any]) -> str:
    """`0.44 [0.34, 0.54]`; the value alone if there is no interval."""
    if values["low"] is None:
        return chance(values["value"])
    return f"{chance(values['value'])} [{chance(values['low'])}, {chance(values['high'])}]"
