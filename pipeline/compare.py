"""Compare scores that exist already: is an arm better, are two equivalent, or is it undecided?

  python -m pipeline.compare scores=FILE.csv
  python -m pipeline.compare scores=FILE.csv budget=10 margin=0.01 out=FILE.json

FILE.csv has the columns arm,trial,validation,test (trials of a random search, equally many per arm;
a failed trial has an empty validation) or arm,repeat,score (one score per repeated search, at least
3 per arm). All scores are fractions from 0 to 1.

budget     n, the number of trials of the search that the verdict is about. A shared search needs
           4 n trials per arm, and 6 n are better.
margin     the smallest gap that matters, a fraction. Choose it before you see the scores.
alpha      the rate of wrong winners, over all pairs and looks
looks      the number of data sizes at which you read a verdict. Each look has alpha / looks.
paired     true, false or auto: paired if all arms have the same trial (or repeat) names
out        a JSON file for the numbers. Its `pairs` are those of metrics.json of a study, with the
           error of the search alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from .config.cli import command
from .config.schema import limited
from .errors import FairsweepError
from .files import replace_file
from .rendering.format import columns
from .scoring.scores_file import FAILED, Arm, ScoresFile, read
from .statistics import decision, pairwise, repeated_search, shared_search
from .statistics.pairwise import Rules
from .statistics.shared_search import Pool

RECOMMENDED_TRIALS_PER_BUDGET = 6
# A smaller standard error is rounding error.
SMALLEST_SPREAD = 1e-12


@dataclass
class Comparison:
    """The keys of this command."""

    scores: str = limited(MISSING, example="scores=FILE.csv")
    budget: int = limited(10, least=1)
    margin: float = limited(0.01, above=0.0, below=1.0)
    out: str | None = None
    alpha: float = limited(0.05, above=0.0, below=1.0)
    looks: int = limited(1, least=1)
    paired: str = limited("auto", choices=("auto", "true", "false"))


def compare(options: Comparison) -> tuple[dict[str, Any], list[str]]:
    """Read the scores and compare all pairs of arms.

    Returns:
        The content of the JSON file, scores and gaps in fractions, and sentences about the result.

    Raises:
        FairsweepError: the file is malformed or has too few rows for a verdict, or `paired` is
            `true` and the names of the arms differ.
    """
    file = read(Path(options.scores).expanduser())
    check_size(file, options.budget)
    unmatched = file.unmatched()
    paired = options.paired != "false" and not unmatched
    if options.paired == "false":
        reason = "Not paired, as requested."
    elif unmatched:
        reason = f"Not paired: {unmatched}."
    else:
        reason = (
            f"Paired: all arms have the same {file.row} names. If equal names have no meaning, use "
            "paired=false."
        )
    if options.paired == "true" and unmatched:
        raise FairsweepError(
            f"{file.path}, column {file.row}: {unmatched}. With paired=true all arms need the same "
            "names. Correct them, or use paired=false."
        )
    if paired:
        names = next(iter(file.arms.values())).names
        file = replace(file, arms={name: arm.ordered(names) for name, arm in file.arms.items()})
    rules = Rules(options.budget, options.margin, options.alpha, options.looks, paired)
    result = {
        "design": file.design,
        **{"budget": rules.budget, "margin": rules.margin, "alpha": rules.alpha},
        **{"looks": rules.looks, "paired": paired},
        "arms": {name: arm_numbers(file.design, arm, rules) for name, arm in file.arms.items()},
        "pairs": pairs(file, rules),
    }
    return result, [reason, *notes(file, result)]


def check_size(file: ScoresFile, budget: int) -> None:
    """Raise FairsweepError for a file with too few rows for a verdict."""
    for name, arm in file.arms.items():
        if file.design == "repeated" and len(arm) < repeated_search.FEWEST:
            raise FairsweepError(
                f"{file.path}: {name} has {len(arm)} repeats. Give at least "
                f"{repeated_search.FEWEST} per arm: fewer do not show how much scores vary."
            )
        fewest = shared_search.MIN_TRIALS_PER_BUDGET
        if file.design == "shared" and len(arm) < fewest * budget:
            largest = len(arm) // fewest
            lower = f"lower the budget (budget={largest} at most), or " if largest else ""
            raise FairsweepError(
                f"{file.path}: {name} has {len(arm)} trials for a budget of {budget}. N/n must be "
                f"at least {fewest}, here {fewest * budget} trials: intervals from fewer are too "
                f"narrow. Before you see the scores, {lower}run more trials."
            )


def arm_numbers(design: str, arm: Arm, rules: Rules) -> dict[str, Any]:
    """Return an arm's counts, and the expected score of its search with an interval.

    For repeated searches the expected score is the mean of the repeats.
    """
    if design == "repeated":
        counts, estimate = {"repeats": len(arm)}, repeated_search.estimate(arm.score)
    else:
        failed = int((arm.validation == FAILED).sum())
        counts = {"trials": len(arm), "failed": failed, "guessed": arm.guessed}
        estimate = shared_search.estimate(Pool(arm.validation, arm.score), rules.budget)
    low, high = estimate.interval(rules.level)
    tuned = {"mean": estimate.value, "low": low, "high": high, "se": estimate.se, "df": estimate.df}
    return {**counts, "tuned": tuned}


def pairs(file: ScoresFile, rules: Rules) -> list[dict[str, Any]]:
    """Return `pairs` as in metrics.json of a study, without groups."""
    if file.design == "repeated":
        return pairwise.compare_repeated(
            {name: arm.score for name, arm in file.arms.items()}, rules
        )
    pools = {name: Pool(arm.validation, arm.score) for name, arm in file.arms.items()}
    return pairwise.compare_shared(pools, rules)


def notes(file: ScoresFile, result: dict[str, Any]) -> list[str]:
    """Return sentences about what weakens the result."""
    sentences = []
    ratio, enough = (
        len(next(iter(file.arms.values()))) / result["budget"],
        RECOMMENDED_TRIALS_PER_BUDGET,
    )
    if file.design == "shared" and ratio < enough:
        sentences.append(f"N/n is {ratio:.3g}, below {enough}: real gaps are often missed.")
    sentences += [
        f"{arm.guessed} failed trials of {name} have no test score and count as guessing (0.5)."
        for name, arm in file.arms.items()
        if arm.guessed
    ]
    sentences += [
        f"{pair['a']} and {pair['b']} show no spread at all, so their interval has no width. Check "
        "whether the scores are rounded."
        for pair in result["pairs"]
        if pair["se"] < SMALLEST_SPREAD
    ]
    return sentences


def text(result: dict[str, Any], sentences: Sequence[str]) -> str:
    """Return the result as the command prints it."""
    score, counts = "Mean score of the repeats", ["repeats"]
    if result["design"] == "shared":
        score = f"Expected test score of a random search of {result['budget']} trials"
        counts = ["trials", "failed"]
    arms = [
        [name, *(str(arm[key]) for key in counts), interval(arm["tuned"], "mean")]
        for name, arm in result["arms"].items()
    ]
    rows = [
        [f"{pair['a']} - {pair['b']}", interval(pair, "gap", "+"), verdict(pair, result)]
        for pair in result["pairs"]
    ]
    blocks = [
        f"{score}, with {100 * (1 - result['alpha'] / result['looks']):.4g} % intervals",
        columns([["arm", *counts, "score"], *arms]),
        columns([["pair", "gap", f"verdict (margin {result['margin']:g})"], *rows]),
        "\n".join(sentences),
    ]
    return "\n\n".join(blocks)


def interval(values: dict[str, Any], key: str, sign: str = "") -> str:
    """Return a value with its interval, in fractions. The `sign` "+" prints signs."""
    low, high = (f"{values[bound]:{sign}.4f}" for bound in ("low", "high"))
    return f"{values[key]:{sign}.4f} [{low}, {high}]"


def verdict(pair: dict[str, Any], result: dict[str, Any]) -> str:
    """Return a pair's verdict in words, with the size that would decide an undecided pair."""
    winner, more = pair["a"] if pair["gap"] > 0 else pair["b"], ""
    if counts := pair["trials_needed"]:
        unit, size = (
            ("trials", 1) if result["design"] == "shared" else ("repeats", result["budget"])
        )
        likely, safe = (-(-counts[name] // size) for name in ("likely", "safe"))
        more = (
            f"; a new experiment with {likely} {unit} per arm decides with probability of about "
            f"80 % ({safe} to be safe)"
        )
    return {
        decision.BETTER: f"{winner} is better",
        decision.WITHIN: f"{winner} is better, by less than the margin",
        decision.EQUIVALENT: "equivalent within the margin",
        decision.UNDECIDED: f"undecided{more}",
    }[pair["verdict"]]


def write(result: dict[str, Any], out: Path, scores: Path) -> None:
    """Write the JSON file, all of it or nothing.

    Raises:
        FairsweepError: `out` is the file of scores or a folder, or cannot be written.
    """
    # Machines differ beyond 9 digits.
    content = json.dumps(result, allow_nan=False)
    rounded = json.loads(content, parse_float=lambda digits: round(float(digits), 9))
    try:
        if out.is_dir() or (out.exists() and out.samefile(scores)):
            kind = "a folder" if out.is_dir() else "the file of scores"
            raise FairsweepError(
                f"out={out}: that is {kind}. Give another name, such as FILE.json."
            )
        with replace_file(out) as part:
            part.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        fault = f"cannot be written ({error.strerror})"
        raise FairsweepError(f"out={out}: {fault}. Give another name.") from error


@command(schema=Comparison)
def main(options: Comparison) -> None:
    """Run the command `compare`."""
    result, sentences = compare(options)
    if options.out is not None:
        write(result, Path(options.out).expanduser(), Path(options.scores).expanduser())
    print(text(result, sentences))
    if options.out is not None:
        print(f"\nThe numbers are in {options.out}.")


if __name__ == "__main__":
    main()
