"""Compares anyone's scores, no study needed: is one arm better, are two equivalent within the margin, or is it not decided?

  python -m pipeline.compare scores=FILE.csv
  python -m pipeline.compare scores=FILE.csv headline=10 margin=0.01 out=FILE.json

FILE.csv has the columns arm,trial,validation,test (the trials of a random search, as many of each arm; a failed trial has an empty
validation) or arm,study,score (one score of each of at least 3 separate studies). All scores are fractions, from 0 to 1.

headline   n, the size of search that the verdict speaks of; a pool needs 4 n trials of each arm, 6 n are better
margin     the smallest gap that matters, a fraction, chosen before looking at the scores
alpha      how often a winner may be named where there is none, over all pairs and looks
looks      at how many sizes of the data you look, counting all: each look has alpha / looks
paired     true, false, or auto: paired where all arms have the same trial (or study) names
out        where the numbers go as JSON: `pairs` as in a study's metrics.json, its error being the search's alone"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from pipeline.config import command
from pipeline.errors import FairsweepError
from pipeline.evidence import comparison, pool, studies, verdict
from pipeline.evidence.comparison import Rules
from pipeline.evidence.pool import Pool
from pipeline.files import replace_file
from pipeline.limits import limited
from pipeline.reporting.scores_file import Arm, ScoresFile, read
from pipeline.reporting.words import columns

ENOUGH_PER_HEADLINE = 6
# Below it a standard error is what rounding leaves of zero.
NO_SPREAD = 1e-12


@dataclass
class Comparison:
    """The keys of this command."""

    scores: str = limited(MISSING, example="scores=FILE.csv")
    headline: int = limited(10, least=1)
    margin: float = limited(0.01, above=0.0, below=1.0)
    out: str | None = None
    alpha: float = limited(0.05, above=0.0, below=1.0)
    looks: int = limited(1, least=1)
    paired: str = limited("auto", choices=("auto", "true", "false"))


def compare(options: Comparison) -> tuple[dict[str, Any], list[str]]:
    """Reads the scores and compares all pairs of arms.

    Returns:
        What the JSON file holds, scores and gaps in fractions; and what the reader should know about it, a sentence each.

    Raises:
        FairsweepError: if the file is malformed, or holds too little for any verdict.
    """
    file = read(Path(options.scores).expanduser())
    check_size(file, options.headline)
    paired, why = pairing(file, options.paired)
    if paired:
        names = next(iter(file.arms.values())).names
        file = ScoresFile(file.path, file.design, {name: arm.ordered(names) for name, arm in file.arms.items()})
    rules = Rules(options.headline, options.margin, options.alpha, options.looks, paired)
    result = {
        "design": file.design,
        **{"headline": rules.headline, "margin": rules.margin, "alpha": rules.alpha, "looks": rules.looks, "paired": paired},
        "arms": {name: arm_numbers(file.design, arm, rules) for name, arm in file.arms.items()},
        "pairs": pairs(file, rules),
    }
    return result, [why, *notes(file, result)]


def check_size(file: ScoresFile, headline: int) -> None:
    """Refuses what is too little for a verdict.

    Raises:
        FairsweepError: with the rule and the remedy.
    """
    for name, arm in file.arms.items():
        if file.design == "studies" and len(arm) < studies.FEWEST:
            raise FairsweepError(
                f"{file.path}: {name} has {len(arm)} studies. Expected at least {studies.FEWEST} of each arm: fewer do not show "
                "how much a study's score varies. Run more studies."
            )
        fewest = pool.FEWEST_PER_HEADLINE
        if file.design == "pool" and len(arm) < fewest * headline:
            largest = len(arm) // fewest
            lower = f"lower the headline (headline={largest} at most), or " if largest else ""
            raise FairsweepError(
                f"{file.path}: {name} has {len(arm)} trials for a headline of {headline}. Expected N/n of at least {fewest}, here "
                f"{fewest * headline} trials: from fewer no interval holds. Choose before looking: {lower}run more trials."
            )


def pairing(file: ScoresFile, wish: str) -> tuple[bool, str]:
    """Whether rows of the same name are paired, and a sentence that says why.

    Raises:
        FairsweepError: if `wish` is `true` and a name is missing in an arm.
    """
    unmatched = file.unmatched()
    if wish == "true" and unmatched:
        raise FairsweepError(
            f"{file.path}, column {file.row}: {unmatched}. With paired=true all arms need the same names; "
            "mend them, or compare without pairs: paired=false."
        )
    if wish == "false":
        return False, "Not paired, as asked for."
    if unmatched:
        return False, f"Not paired: {unmatched}."
    return True, f"Paired: all arms have the same {file.row} names. Where equal names mean nothing, paired=false is right."


def arm_numbers(design: str, arm: Arm, rules: Rules) -> dict[str, Any]:
    """One arm's counts, and the expected score of its search (of its studies: their mean) with an interval."""
    if design == "studies":
        counts, estimate = {"studies": len(arm)}, studies.estimate(arm.score)
    else:
        counts = {"trials": len(arm), "failed": int((arm.validation == float("-inf")).sum()), "guessed": arm.guessed}
        estimate = pool.estimate(Pool(arm.validation, arm.score), rules.headline)
    low, high = estimate.interval(rules.level)
    return {**counts, "tuned": {"mean": estimate.value, "low": low, "high": high, "se": estimate.se, "df": estimate.df}}


def pairs(file: ScoresFile, rules: Rules) -> list[dict[str, Any]]:
    """`pairs` as in a study's metrics.json, without films."""
    if file.design == "studies":
        return comparison.compare_studies({name: arm.score for name, arm in file.arms.items()}, rules)
    return comparison.compare_pools({name: Pool(arm.validation, arm.score) for name, arm in file.arms.items()}, rules)


def notes(file: ScoresFile, result: dict[str, Any]) -> list[str]:
    """What weakens the result, a sentence each."""
    told = []
    trials = len(next(iter(file.arms.values())))
    if file.design == "pool" and trials < ENOUGH_PER_HEADLINE * result["headline"]:
        told.append(
            f"N/n is {trials / result['headline']:.3g}, below {ENOUGH_PER_HEADLINE}: real gaps are often missed at this size."
        )
    for name, arm in file.arms.items():
        if arm.guessed:
            told.append(f"Failed trials of {name} without a test score, counted as guessing (0.5): {arm.guessed}.")
    for pair in result["pairs"]:
        if pair["se"] < NO_SPREAD:
            told.append(f"{pair['a']} and {pair['b']} show no spread at all, so their interval has no width: are scores rounded?")
    return told


def text(result: dict[str, Any], told: Sequence[str]) -> str:
    """The result as it is printed."""
    pooled = result["design"] == "pool"
    what = f"Test score that a random search of {result['headline']} trials arrives at" if pooled else "Score of a study"
    counts = ["trials", "failed"] if pooled else ["studies"]
    arms = [[name, *(str(arm[key]) for key in counts), interval(arm["tuned"], "mean")] for name, arm in result["arms"].items()]
    rows = [[f"{pair['a']} - {pair['b']}", interval(pair, "gap", "+"), answer(pair, result)] for pair in result["pairs"]]
    blocks = [
        f"{what}, with {100 * (1 - result['alpha'] / result['looks']):.4g} % intervals",
        columns([["arm", *counts, "score"], *arms]),
        columns([["pair", "gap", f"verdict (margin {result['margin']:g})"], *rows]),
        "\n".join(told),
    ]
    return "\n\n".join(blocks)


def interval(values: dict[str, Any], key: str, sign: str = "") -> str:
    """A value with its interval, in fractions; with a sign where asked for."""
    return f"{values[key]:{sign}.4f} [{values['low']:{sign}.4f}, {values['high']:{sign}.4f}]"


def answer(pair: dict[str, Any], result: dict[str, Any]) -> str:
    """The verdict of a pair in words."""
    winner = pair["a"] if pair["gap"] > 0 else pair["b"]
    words = {
        verdict.BETTER: f"{winner} is better",
        verdict.WITHIN: f"{winner} is better, by less than the margin",
        verdict.EQUIVALENT: "equivalent within the margin",
        verdict.UNDECIDED: f"undecided{needed(pair['trials_needed'], result)}",
    }
    return words[pair["verdict"]]


def needed(counts: dict[str, int] | None, result: dict[str, Any]) -> str:
    """How much more would decide it; separate studies are counted in studies."""
    if counts is None:
        return ""
    unit, size = ("trials", 1) if result["design"] == "pool" else ("studies", result["headline"])
    likely, safe = (-(-counts[name] // size) for name in ("likely", "safe"))
    return f"; 80 % chance of a verdict with about {likely} {unit} of each arm ({safe} to be safe), made anew"


def write(result: dict[str, Any], out: Path, scores: Path) -> None:
    """Writes the JSON file, whole or not at all.

    Raises:
        FairsweepError: if `out` is the file of scores or a folder, or cannot be written.
    """
    # Beyond 9 digits two machines may differ.
    rounded = json.loads(json.dumps(result, allow_nan=False), parse_float=lambda digits: round(float(digits), 9))
    try:
        if out.is_dir() or (out.exists() and out.samefile(scores)):
            what = "a folder" if out.is_dir() else "the file of scores"
            raise FairsweepError(f"out={out}: that is {what}. Give another name, such as out=FILE.json.")
        with replace_file(out) as part:
            part.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise FairsweepError(f"out={out}: cannot be written ({error.strerror}). Give another name.") from error


@command(schema=Comparison)
def main(options: Comparison) -> None:
    """The command `compare`."""
    result, told = compare(options)
    if options.out is not None:
        write(result, Path(options.out).expanduser(), Path(options.scores).expanduser())
    print(text(result, told))
    if options.out is not None:
        print(f"\n{options.out}: the same in numbers")


if __name__ == "__main__":
    main()
