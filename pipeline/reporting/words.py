"""Every sentence of the report that a number decides, as plain text: metrics in, words out.

How scores and gaps are told, and what a row of the task is, `measure` says.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.evidence.verdict import BETTER, EQUIVALENT, REFUSED, UNDECIDED, WITHIN, ahead
from pipeline.reporting import measure
from pipeline.reporting.measure import Measure

Metrics = dict[str, Any]
Pair = dict[str, Any]

# Seen from the better mean. Colour never stands alone, so each has a sign too.
LABELS = {BETTER: "better", WITHIN: "better, < margin", EQUIVALENT: "equivalent", UNDECIDED: "undecided", REFUSED: "no verdict"}
SIGNS = {BETTER: "▲", WITHIN: "△", EQUIVALENT: "≈", UNDECIDED: "?", REFUSED: "×"}
# An interval wider than this is told by its ends alone: its middle would say more than is known.
WIDE = 0.3
# More pairs than this are counted, not listed, in one sentence.
MOST_LISTED = 4


def decimal(value: float | None) -> str:
    """A loss with four decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.4f}"


def number(value: float) -> str:
    """As short as it can be written: `1`, `0.5`."""
    return f"{value:.6g}"


def counted(value: float, word: str) -> str:
    """`1 point`, `0.5 points`."""
    return f"{number(value)} {word}{'' if value == 1 else 's'}"


def chance(value: float | None) -> str:
    """A probability with two decimals, never rounded to certainty; a dash where there is none."""
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
    """Rows under a header, in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def level(metrics: Metrics) -> str:
    """The confidence of the intervals at one look: `95 %`."""
    return f"{number(100 * (1 - metrics['alpha'] / metrics['looks']))} %"


def margin(metrics: Metrics) -> str:
    """`1 point`."""
    return measure.of(metrics).margin(metrics["margin"])


def gap(pair: Pair, metrics: Metrics) -> str:
    """`0.75 points [0.30, 1.20]`."""
    return measure.of(metrics).gap(pair)


def oriented(pair: Pair) -> Pair:
    """The same pair with the better mean first, so that its gap is not negative."""
    if pair["gap"] >= 0:
        return pair
    turned = {**pair, "a": pair["b"], "b": pair["a"], "gap": -pair["gap"]}
    for low, high in (("low", "high"), ("search_low", "search_high")):
        turned |= {low: -pair[high], high: -pair[low]}
    for key, mirror in (("a_beats_b", "a_beats_b"), ("low", "high"), ("high", "low")):
        other = pair[f"probability_{mirror}"]
        turned[f"probability_{key}"] = None if other is None else 1 - other
    return turned


def question(metrics: Metrics, study: dict[str, Any]) -> str:
    """What the study asks."""
    cells = list(metrics["arms"])
    if not metrics["trials"]:
        return (
            f"What do the recipes {listed(study['recipes'])} score on the task {study['task']['name']} with {listed(cells)}, over fresh "
            "seeds and as published, without a search?"
        )
    return (
        f"Which recurrent cell is better on the task {study['task']['name']}, {listed(cells)}, when each gets a search of "
        f"{counted(metrics['headline'], 'trial')}? How sure are we, and what did the answer cost?"
    )


def short(metrics: Metrics) -> str:
    """The verdict of the whole study as a title."""
    if not metrics["trials"]:
        return "No search, so no verdict"
    if metrics["winner"]:
        return f"{metrics['winner']} is better than every other cell"
    refused = all(pair["verdict"] == REFUSED for pair in metrics["pairs"])
    return "No verdict" if refused else "No single winner"


def answer(metrics: Metrics) -> str:
    """The verdict of the whole study in one sentence."""
    pairs, size = metrics["pairs"], counted(metrics["headline"], "trial")
    if not metrics["trials"]:
        return f"There was no search, so no verdict: {_recipes_scored(metrics)}."
    if not pairs:
        return "There is no pair of cells to compare, so there is no verdict."
    if all(pair["verdict"] == REFUSED for pair in pairs):
        return f"No verdict is given: {pairs[0]['refusal']}"
    if metrics["winner"]:
        return _winner(metrics, size)
    leaders = metrics["leaders"]
    if len(leaders) == len(metrics["arms"]):
        start = f"No cell is shown to be better than another with a search of {size}"
    else:
        verb = "is" if len(leaders) == 1 else "are"
        start = f"No single cell wins with a search of {size}; {listed(leaders)} {verb} not shown to be worse than any other"
    return f"{start}; {_open_pairs(metrics)} ({level(metrics)} intervals)."


def _recipes_scored(metrics: Metrics) -> str:
    """What each recipe scores on test with each cell."""
    told, arms = measure.of(metrics), metrics["arms"]
    runs = next(iter(arms.values()))["recipes"]
    scored = [
        f"the {recipe} recipe scores "
        + listed(f"{told.mean_sd(values['recipes'][recipe])} with {arm}" for arm, values in arms.items())
        for recipe in runs
    ]
    seeds = counted(next(iter(runs.values()))["n"], "seed")
    return f"on test {'; '.join(scored)} ({told.axis}: mean ± sd of {seeds})"


def _winner(metrics: Metrics, size: str) -> str:
    best = metrics["winner"]
    won = [oriented(pair) for pair in metrics["pairs"] if best in (pair["a"], pair["b"])]
    gaps = [
        f"{gap(pair, metrics)} over {pair['b']}" + (" (less than the margin)" if pair["verdict"] == WITHIN else "")
        for pair in won
    ]
    if len(won) > MOST_LISTED:
        nearest = min(range(len(won)), key=lambda place: won[place]["gap"])
        gaps = [f"at least {gaps[nearest]}, the nearest"]
    rival = won[0]["b"] if len(won) == 1 else "every other cell"
    return (
        f"{best} is better than {rival}: the model that a search of {size} picks {measure.of(metrics).leads}, by {listed(gaps)} "
        f"({level(metrics)} intervals; the margin is {margin(metrics)})."
    )


def _open_pairs(metrics: Metrics) -> str:
    """Which pairs that concern the leaders are equivalent, and which undecided."""
    leaders = metrics["leaders"]
    held = [pair for pair in metrics["pairs"] if ahead(pair) is None and {pair["a"], pair["b"]} & set(leaders)]
    if len(leaders) > 1:
        held = [pair for pair in held if {pair["a"], pair["b"]} <= set(leaders)]
    told = []
    for word, said in (
        (EQUIVALENT, f"equivalent within {margin(metrics)}"),
        (UNDECIDED, "undecided"),
        (REFUSED, "without a verdict"),
    ):
        some = [oriented(pair) for pair in held if pair["verdict"] == word]
        if len(some) > MOST_LISTED:
            told.append(f"{len(some)} pairs of them are {said}")
        elif some:
            against = listed(f"{pair['a']} against {pair['b']} ({gap(pair, metrics)})" for pair in some)
            told.append(f"{against} {'is' if len(some) == 1 else 'are'} {said}")
    return ", and ".join(told)


def verdict_sentence(pair: Pair, metrics: Metrics) -> str:
    """One pair's verdict, from the better mean's side."""
    pair = oriented(pair)
    a, b = pair["a"], pair["b"]
    if pair["verdict"] == REFUSED:
        return f"No verdict on {a} against {b}: {pair['refusal']}"
    if pair["verdict"] == BETTER:
        return f"{a} is better than {b} by {gap(pair, metrics)}."
    if pair["verdict"] == WITHIN:
        return f"{a} is better than {b}, but by less than the margin of {margin(metrics)}: {gap(pair, metrics)}."
    if pair["verdict"] == EQUIVALENT:
        return f"{a} and {b} are equivalent within {margin(metrics)}: {a} leads by {gap(pair, metrics)}."
    return f"{a} against {b} is undecided: {a} leads by {gap(pair, metrics)}{_despite(pair, metrics)}. {trials_needed(pair, metrics)}"


def _despite(pair: Pair, metrics: Metrics) -> str:
    """Why a pair is undecided whose own interval leaves out zero."""
    if pair["low"] <= 0 <= pair["high"]:
        return ""
    return f", an interval without 0, yet not enough after Holm's correction for {len(metrics['pairs'])} pairs"


def trials_needed(pair: Pair, metrics: Metrics) -> str:
    """How large a new study would decide an undecided pair; empty for any other. A pool topped up looks a second time."""
    if pair["verdict"] != UNDECIDED:
        return ""
    needed = pair["trials_needed"]
    if needed is None:
        return (
            f"More trials alone will not decide it: the {measure.of(metrics).groups} of the test set by themselves leave the interval "
            f"too wide for a margin of {margin(metrics)}."
        )
    safe = "" if needed["safe"] == needed["likely"] else f" ({needed['safe']:,} to be safe)"
    studies = f", in studies of {metrics['headline']}" if metrics["design"] == "studies" else ""
    return f"80 % chance of a verdict with a new study of about {needed['likely']:,} trials a cell{safe}{studies}."


def baseline_sentence(metrics: Metrics) -> str:
    """Whether the baselines score above the cells: computed, whichever way it falls."""
    told = measure.of(metrics)
    sentences = [
        f"{_capital(_baseline(kind, values, told))} scores {told.told(values['test'])} on test: {_standing(metrics, values['test'])}."
        for kind, values in metrics["baseline"].items()
    ]
    # Two texts of one model are no contest.
    if len(sentences) > 1 and beside(metrics) == "the baselines":
        sentences.append(f"The best of these is {told.stands_for(best_baseline(metrics))}.")
    return " ".join(sentences)


def _baseline(kind: str, values: dict[str, Any], told: Measure) -> str:
    """What a baseline is, with the settings chosen for it."""
    if "ngrams" in values:
        text = {"same_tokens": "the same tokens as the cells see", "whole_text": f"the whole {told.example}"}[kind]
        return f"on {text}, a linear model (TF-IDF with logistic regression, up to {values['ngrams']} words at a time, C {values['C']:g})"
    chosen = ", ".join(f"{key} {plain(value)}" for key, value in values.get("chosen", {}).items())
    return told.stands_for(kind) + (f" ({chosen})" if chosen else "")


def beside(metrics: Metrics) -> str:
    """What stands beside the cells, in a caption."""
    return "linear models" if all("ngrams" in values for values in metrics["baseline"].values()) else "the baselines"


def best_baseline(metrics: Metrics) -> str:
    """The kind of the baseline that scores highest on test, the first of equals."""
    return max(metrics["baseline"], key=lambda kind: metrics["baseline"][kind]["test"])


def baseline_short(metrics: Metrics) -> str:
    """The same in brief: of the linear model that sees what the cells see, or else of the best baseline."""
    told, kinds = measure.of(metrics), metrics["baseline"]
    kind = "same_tokens" if "same_tokens" in kinds else best_baseline(metrics)
    test = kinds[kind]["test"]
    return f"For scale: {told.stands_for(kind)} scores {told.told(test)}, {_standing(metrics, test)}."


def _standing(metrics: Metrics, test: float) -> str:
    """Where a score lies beside the intervals of the cells' searches; without a search, beside the seeds of the first recipe."""
    above, below = ("above", "below") if measure.of(metrics).fraction else ("better than", "worse than")
    places: dict[str, list[str]] = {above: [], "within": [], below: []}
    for arm, values in metrics["arms"].items():
        tuned = values.get("tuned")
        low, high = (tuned["low"], tuned["high"]) if tuned else (values["recipe"]["min"], values["recipe"]["max"])
        places[above if test > high else below if test < low else "within"].append(arm)
    recipe = next(iter(next(iter(metrics["arms"].values())).get("recipes", ())), None)
    what = "the interval of" if metrics["trials"] else f"the seeds of the {recipe} recipe with"
    return listed(f"{place} {what} {_every(arms, metrics)}" for place, arms in places.items() if arms)


def _every(arms: Sequence[str], metrics: Metrics) -> str:
    if len(arms) < len(metrics["arms"]):
        return listed(arms)
    return f"every cell's search ({listed(arms)})" if metrics["trials"] else f"every cell ({listed(arms)})"


def versions(metrics: Metrics) -> dict[str, dict[str, Any]]:
    """The ways of choosing the one run a cell, by what the report calls them."""
    told, found = metrics["anecdote"], {}
    if "recipe" in told:
        found[f"The {told['recipe']['name']} recipe, untuned"] = told["recipe"]
    if "random" in told:
        found["A random configuration a cell"] = told["random"]
    if "tuned" in told:
        found[f"The pick of one search of {counted(metrics['headline'], 'trial')}"] = told["tuned"]
    return found


def anecdote_sentences(metrics: Metrics, study: dict[str, Any]) -> list[str]:
    """What one run a cell would have said, against the verdict: a sentence for each way of choosing that run."""
    if not versions(metrics):
        return []
    if any(pair["verdict"] == REFUSED for pair in metrics["pairs"]):
        return ["No verdict is given, so none can be set against what one run a cell would have said."]
    what = misleading(metrics)
    told = [
        f"{name} ({counted(version['runs'], 'run')} a cell): {what} {likely(version)}."
        for name, version in versions(metrics).items()
    ]
    same = metrics["anecdote"].get("random", {}).get("same_configuration")
    if same:
        told.append(
            f"One random configuration, the same for all cells: {what} in {same['count']} of {same['of']} cases, {likely(same)}."
        )
    return [*told, *_printed(metrics, study)]


def misleading(metrics: Metrics) -> str:
    """What counts as misled by one run a cell."""
    if metrics["anecdote"]["question"] == "other":
        return f"one run a cell crowns another than {metrics['anecdote']['winner']}"
    return f"the crowned cell leads by more than {margin(metrics)}, though the verdict names no winner,"


def likely(values: dict[str, Any]) -> str:
    """A probability with its interval; where that is wide, its ends alone."""
    low, high = values["low"], values["high"]
    if low is None:
        return f"with probability {chance(values['value'])} (too few runs differ for an interval)"
    if high - low > WIDE or "value" not in values:
        return f"with a probability between {chance(low)} and {chance(high)}"
    return f"with probability {chance(values['value'])} [{chance(low)}, {chance(high)}]"


def _printed(metrics: Metrics, study: dict[str, Any]) -> list[str]:
    """The numbers in print beside the range of our seeds, of the recipe that the anecdote is told of."""
    told = measure.of(metrics)
    name = metrics["anecdote"].get("recipe", {}).get("name")
    cells = study.get("printed", {}).get(name, {})
    printed = {arm: cells[arm][told.metric] for arm in metrics["arms"] if told.metric in cells.get(arm, {})}
    if len(printed) < 2:
        return []
    said = []
    for arm, value in printed.items():
        runs = metrics["arms"][arm]["recipe"]
        least, most = sorted((told.shown(runs["min"]), told.shown(runs["max"])))
        place = "above" if value > most else "below" if value < least else "within"
        said.append(f"{arm} {value:.3f} ({place} our {least:.{told.decimals}f} to {most:.{told.decimals}f})")
    which, best = ("highest", max) if told.fraction else ("lowest", min)
    return [f"In print, one run a cell: {listed(said)}; the {which} is {best(printed, key=lambda arm: printed[arm])}'s."]


def recipe_sentence(gap: dict[str, Any], metrics: Metrics) -> str:
    """The gap of two cells within one recipe: of this recipe on this test set, never of the cells."""
    told, turned = measure.of(metrics), gap["gap"] < 0
    a, b = (gap["b"], gap["a"]) if turned else (gap["a"], gap["b"])
    if gap["low"] is None:
        return f"{gap['recipe']}: {a} leads {b} by {told.points(abs(gap['gap']))} {told.gaps} with one seed each, which says nothing."
    ends = (-gap["high"], -gap["low"]) if turned else (gap["low"], gap["high"])
    size = f"{told.points(abs(gap['gap']))} {told.gaps} {told.span(*ends)}"
    if ends[0] > 0:
        return f"{gap['recipe']}: {a} is better than {b} by {size}."
    return f"{gap['recipe']}: {a} and {b} are not told apart: {a} leads by {size}."


def efficient(metrics: Metrics, key: str) -> list[str]:
    """The cells that no other dominates: none is as good on test and as cheap in `key`, and better in one of both."""
    arms = {arm: (values["tuned"]["mean"], -values[key]) for arm, values in metrics["arms"].items()}

    def dominated(mine: tuple[float, float]) -> bool:
        return any(other != mine and other[0] >= mine[0] and other[1] >= mine[1] for other in arms.values())

    return [arm for arm, mine in arms.items() if not dominated(mine)]


def cost_sentence(metrics: Metrics) -> str:
    """Which cells are worth their cost, by each measure of it."""
    told = [f"by {key}, {listed(efficient(metrics, key))}" for key in ("seconds", "epochs", "parameters")]
    return f"Cells that no other matches in both test {measure.of(metrics).name} and cost: {'; '.join(told)}."


def order_sentences(metrics: Metrics) -> list[str]:
    """Between which sizes of the search the order of two cells may change; a pool alone can tell."""
    if metrics.get("order_changes") == [] and metrics["design"] == "pool" and metrics["pairs"]:
        return ["No two cells are shown to change their order with the size of the search."]
    return [
        f"The order of {one['a']} and {one['b']} may change between {one['n1']} and {counted(one['n2'], 'trial')}."
        for one in metrics.get("order_changes", [])
    ]


def edge_sentences(metrics: Metrics) -> list[str]:
    """What lies at an end of its range, and what to do about it."""
    told = []
    for arm, edges in (metrics.get("edges") or {}).items():
        for one in edges:
            where = f"{arm}, `{one['key']}={plain(one['value'])}`: the best lies in the {one['side']}est tenth of the range"
            if one["warning"]:
                told.append(
                    f"{where}, and scores still rise there (a slope as steep by chance {p_value(one['chance'])}, at any end of any cell's "
                    f"ranges {p_value(one['chance_any'])}): {one['remedy']}."
                )
            else:
                told.append(f"{where}; a note, no warning.")
    return told


def flag_sentences(metrics: Metrics) -> list[str]:
    """What the sanity gates flagged while the study ran, and what to do about it."""
    return [f"{listed(one['arms'])}, {one['gate']}: {one['told']}. {one['remedy']}." for one in metrics.get("flags", [])]


def champion_sentence(metrics: Metrics) -> str:
    """Which model the registry calls the champion."""
    champion = metrics["champion"]
    study = f" of study {champion['study']}" if "study" in champion else ""
    return (
        f"The champion is replicate {champion['replicate']}{study} of {champion['arm']}: chosen by validation (the cell with the best mean "
        "over replicates, and its best replicate), never by test."
    )


def plain(value: Any) -> str:
    """As Hydra writes it: `null`, `true`, `false`, or the value."""
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if value is None or isinstance(value, bool)
        else str(value)
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def settings(values: dict[str, Any]) -> str:
    """`key=value` of each entry, as Hydra writes them."""
    return ", ".join(f"`{key}={plain(value)}`" for key, value in values.items())
