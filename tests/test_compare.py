"""The command `compare`: known digits, its own door, refusals, and nothing written but what is asked for."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.compare import Comparison, compare, text
from pipeline.config.cli import hydra_arguments
from pipeline.config.compose import check_overrides
from pipeline.errors import FairsweepError
from pipeline.statistics.pairwise import Rules, compare_shared
from pipeline.statistics.shared_search import Pool

ROOT = Path(__file__).resolve().parents[1]
A, B = (0.871, 0.864, 0.878, 0.870, 0.869), (0.862, 0.869, 0.860, 0.865, 0.858)
# Holm's adjustment of statsmodels imports pandas.
HEAVY = {"tensorflow", "keras", "jax", "mlflow", "optuna", "distributed", "matplotlib"}
PAIR = (
    "a b gap low high df se search_low search_high search_df search_se group_se p_superior p_equivalent p_superior_holm "
    "p_equivalent_holm probability_within_margin probability_a_beats_b probability_low probability_high verdict trials_needed"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file whose name Hydra's grammar would not take unquoted."""
    return tmp_path / "my scores (1), ~new.csv"


@pytest.fixture
def studies(path: Path) -> Path:
    rows = [
        f"{arm},{number},{score}"
        for arm, scores in (("A", A), ("B", B))
        for number, score in enumerate(scores)
    ]
    path.write_text("\n".join(["arm,repeat,score", *rows]) + "\n")
    return path


def write_pool(
    path: Path, trials: int, gaps: dict[str, float], rename: str = "", seed: int = 0
) -> dict[str, Pool]:
    """Writes arms that like the same configurations, rows of each arm in an order of its own; returns what was written."""
    random = np.random.default_rng(seed)
    shared, rows, pools = random.gamma(1.5, 0.02, trials), [], {}
    for arm, gap in gaps.items():
        test = np.round(0.87 + gap - shared + random.normal(0, 0.004, trials), 5)
        validation = np.round(test + random.normal(0, 0.0035, trials), 4)
        pools[arm] = Pool(validation, test)
        names = [f"{number}{rename if arm != next(iter(gaps)) else ''}" for number in range(trials)]
        rows += [
            f"{arm},{names[row]},{validation[row]},{test[row]}"
            for row in random.permutation(trials)
        ]
    path.write_text("\n".join(["arm,trial,validation,test", *rows]) + "\n")
    return pools


def refusal(**options: object) -> str:
    with pytest.raises(FairsweepError) as caught:
        compare(Comparison(**options))  # type: ignore[arg-type]
    return str(caught.value)


def test_studies_give_the_published_digits(studies: Path) -> None:
    """Welch's test and two one-sided tests, as scipy and statsmodels give them for these ten scores."""
    found = {
        margin: compare(Comparison(str(studies), margin=margin, paired="false"))[0]
        for margin in (0.005, 0.01, 0.02)
    }
    (pair,) = found[0.01]["pairs"]
    expected = {
        "gap": 0.0076,
        "se": 0.00296648,
        "df": 7.823961,
        "p_superior": 0.034152,
        "low": 0.0007324,
        "high": 0.0144676,
    }
    assert {key: pair[key] for key in expected} == pytest.approx(expected, abs=5e-7)
    assert pair["probability_a_beats_b"] == pytest.approx(0.9)
    assert pair["verdict"] == "better"
    equivalent = [result["pairs"][0]["p_equivalent"] for result in found.values()]
    assert equivalent == pytest.approx([0.796558, 0.221199, 0.001617], abs=5e-7)
    assert found[0.02]["pairs"][0]["verdict"] == "better_within_margin"


def test_studies_of_equal_names_are_paired_unless_told_otherwise(studies: Path) -> None:
    result, told = compare(Comparison(str(studies)))
    difference = np.subtract(A, B)
    assert result["paired"] is True
    assert result["pairs"][0]["se"] == pytest.approx(difference.std(ddof=1) / np.sqrt(5))
    assert result["pairs"][0]["df"] == 4
    assert told[0].startswith("Paired: all arms have the same repeat names.")
    assert compare(Comparison(str(studies), paired="true"))[0] == result
    assert compare(Comparison(str(studies), paired="false"))[0]["paired"] is False


def test_trials_are_paired_by_name_and_not_by_row(path: Path) -> None:
    pools = write_pool(path, 60, {"lstm": 0.004, "gru": 0.0})
    result, _ = compare(Comparison(str(path)))
    assert result["pairs"] == [
        pytest.approx(pair) for pair in compare_shared(pools, Rules(10, 0.01, paired=True))
    ]
    apart = compare(Comparison(str(path), paired="false"))[0]["pairs"]
    assert apart == [
        pytest.approx(pair) for pair in compare_shared(pools, Rules(10, 0.01, paired=False))
    ]
    assert apart[0]["se"] > 1.3 * result["pairs"][0]["se"]


def test_trials_of_other_names_are_not_paired(path: Path) -> None:
    write_pool(path, 60, {"lstm": 0.004, "gru": 0.0}, rename="b")
    result, told = compare(Comparison(str(path)))
    assert result["paired"] is False
    assert told[0] == "Not paired: trial '0' of lstm is not among those of gru."
    message = refusal(scores=str(path), paired="true")
    assert message.startswith(
        f"{path}, column trial: trial '0' of lstm is not among those of gru. With paired=true"
    )


def test_every_pair_is_given_in_the_order_of_the_file(path: Path) -> None:
    write_pool(path, 60, {"rnn": -0.05, "gru": 0.0, "lstm": 0.0})
    result, told = compare(Comparison(str(path)))
    assert [(pair["a"], pair["b"]) for pair in result["pairs"]] == [
        ("rnn", "gru"),
        ("rnn", "lstm"),
        ("gru", "lstm"),
    ]
    assert [pair["verdict"] for pair in result["pairs"]][:2] == ["better", "better"]
    printed = text(result, told)
    assert "gru is better" in printed
    assert "lstm is better" in printed
    assert "rnn is better" not in printed


def test_looks_share_the_error_rate(studies: Path) -> None:
    options = {"scores": str(studies), "paired": "false"}
    once, twice = (compare(Comparison(**options, looks=looks))[0] for looks in (1, 2))  # type: ignore[arg-type]
    assert (once["pairs"][0]["verdict"], twice["pairs"][0]["verdict"]) == ("better", "undecided")
    assert compare(Comparison(**options, alpha=0.025))[0]["pairs"] == twice["pairs"]  # type: ignore[arg-type]
    assert "97.5 % intervals" in text(twice, [])


def test_an_undecided_pair_of_studies_is_told_how_many_studies(studies: Path) -> None:
    """The JSON counts trials, a budget a study; the words count studies."""
    result, _ = compare(Comparison(str(studies), margin=0.005, paired="false", alpha=0.02))
    needed = result["pairs"][0]["trials_needed"]
    assert result["pairs"][0]["verdict"] == "undecided"
    assert needed["likely"] % 10 == needed["safe"] % 10 == 0
    assert (
        f"{needed['likely'] // 10} repeats per arm decides with probability of about 80 % "
        f"({needed['safe'] // 10} to be safe)" in text(result, [])
    )


def test_failed_trials_count_and_are_told(path: Path) -> None:
    write_pool(path, 60, {"lstm": 0.0, "gru": 0.0})
    whole = compare(Comparison(str(path)))[0]["arms"]
    path.write_text(re.sub(r"^gru,(7|8),.*$", r"gru,\1,,", path.read_text(), flags=re.MULTILINE))
    result, told = compare(Comparison(str(path)))
    assert {
        name: (arm["trials"], arm["failed"], arm["guessed"]) for name, arm in result["arms"].items()
    } == {
        "lstm": (60, 0, 0),
        "gru": (60, 2, 2),
    }
    assert result["arms"]["lstm"] == whole["lstm"]
    assert result["arms"]["gru"]["tuned"]["mean"] != whole["gru"]["tuned"]["mean"]
    assert "2 failed trials of gru have no test score and count as guessing (0.5)." in told


def test_too_few_trials_are_refused_with_the_remedy(path: Path) -> None:
    write_pool(path, 39, {"lstm": 0.0, "gru": 0.0})
    message = refusal(scores=str(path))
    assert (
        f"{path}: lstm has 39 trials for a budget of 10. N/n must be at least 4, here 40 trials"
        in message
    )
    assert "budget=9 at most" in message
    assert compare(Comparison(str(path), budget=9))[1][1].startswith("N/n is 4.33, below 6")
    assert len(compare(Comparison(str(path), budget=6))[1]) == 1
    write_pool(path, 3, {"lstm": 0.0, "gru": 0.0})
    assert "budget=" not in refusal(scores=str(path), budget=1)


def test_too_few_studies_are_refused(path: Path) -> None:
    path.write_text("arm,repeat,score\na,0,.8\na,1,.81\na,2,.82\nb,0,.8\nb,1,.81\n")
    assert f"{path}: b has 2 repeats. Give at least 3 per arm" in refusal(scores=str(path))


def test_scores_without_any_spread_are_told(path: Path) -> None:
    path.write_text("arm,repeat,score\na,0,.8\na,1,.8\na,2,.8\nb,0,.7\nb,1,.7\nb,2,.7\n")
    assert "show no spread at all" in compare(Comparison(str(path)))[1][1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budgt=3", "budgt: no such key; the nearest is 'budget'."),
        ("+marjin=0.1", "marjin: no such key; the nearest is 'margin'."),
        (
            "zzzzz=1",
            "zzzzz: no such key; there are: scores, budget, margin, out, alpha, looks, paired.",
        ),
        ("train.epochs=3", "train.epochs: no such key; "),
        ("cell=gru", "cell: no such key; "),
        ("recipe=null", "recipe: no such key; "),
        ("space.model.units.high=3", "space.model.units.high: no such key; "),
        ("hydra.mode=MULTIRUN", "hydra.mode: no such key; "),
        ("budget=0", "budget=0: must be at least 1."),
        (
            "budget=2.5",
            "budget=2.5: Value '2.5' of type 'float' could not be converted to Integer. Write a value such as budget=10.",
        ),
        ("margin=0", "margin=0.0: must be above 0.0."),
        ("margin=1", "margin=1.0: must be below 1.0."),
        ("margin=nan", "margin=nan: must be a finite number."),
        (
            "alpha=5%",
            "alpha=5%: Value '5%' of type 'str' could not be converted to Float. Write a value such as alpha=0.05.",
        ),
        ("looks=0", "looks=0: must be at least 1."),
        ("paired=maybe", "paired=maybe: must be one of auto, true, false."),
        (
            "scores=null",
            "scores=null: field 'scores' is not Optional. Write a value such as scores=FILE.csv.",
        ),
        ("budget=5,10", "budget=5,10: takes one value. Run the command once per value."),
        ("~out", "~out: a key cannot be deleted"),
        ("scores.csv", "scores.csv: cannot be read as KEY=VALUE"),
    ],
)
def test_a_wrong_override_is_refused(override: str, message: str) -> None:
    with pytest.raises(FairsweepError) as caught:
        hydra_arguments("compare", [override], Comparison)
    assert str(caught.value).startswith(message)


def test_a_multirun_is_refused() -> None:
    with pytest.raises(FairsweepError, match="-m: compare has no multirun"):
        hydra_arguments("compare", ["scores=a.csv", "budget=5,10", "-m"], Comparison)


def test_truths_are_taken_as_words() -> None:
    for word in ("true", "false", "auto"):
        assert f"paired='{word}'" in hydra_arguments(
            "compare", ["scores=a.csv", f"paired={word}"], Comparison
        )


def test_the_keys_of_compare_are_none_of_a_study() -> None:
    with pytest.raises(
        FairsweepError, match=r"budget: no such key; the nearest is 'search\.budget'"
    ):
        check_overrides(["budget=3"], multirun=False)


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def python(tmp_path: Path) -> Run:
    """`python WORDS` in an empty folder far from any conf/."""
    (tmp_path / "empty").mkdir()

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        return subprocess.run(
            [sys.executable, "-W", "error", *words],
            cwd=tmp_path / "empty",
            env=env,
            capture_output=True,
            text=True,
        )

    return run


def test_the_command_prints_the_table_and_writes_one_file(
    python: Run, studies: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new folder" / "result (1).json"
    done = python("-m", "pipeline.compare", f"scores={studies}", f"out={out}", "paired=false")
    assert (done.returncode, done.stderr) == (0, "")
    assert "A - B  +0.0076 [+0.0007, +0.0145]  A is better" in done.stdout
    assert list((tmp_path / "empty").iterdir()) == []
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    result = json.loads(out.read_text())
    assert list(result) == [
        "design",
        "budget",
        "margin",
        "alpha",
        "looks",
        "paired",
        "arms",
        "pairs",
    ]
    assert list(result["arms"]["A"]) == ["repeats", "tuned"]
    assert list(result["pairs"][0]) == [*PAIR.split(), "p_permutation", "hedges_g"]
    assert (result["design"], result["paired"], result["pairs"][0]["gap"]) == (
        "repeated",
        False,
        0.0076,
    )


def test_without_out_nothing_is_written(python: Run, studies: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = python("-m", "pipeline.compare", f"scores={studies}", "paired=true")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Paired: all arms have the same repeat names." in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("arguments", [[], ["scores="]])
def test_missing_scores_are_asked_for_by_an_example(arguments: list[str], python: Run) -> None:
    done = python("-m", "pipeline.compare", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: scores is missing. Set it, such as scores=FILE.csv\n"


def test_a_malformed_file_is_one_line_on_the_command_line(python: Run, path: Path) -> None:
    path.write_text("arm,repeat,score\na,1,86.4\n")
    done = python("-m", "pipeline.compare", f"scores={path}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"error: {path}, line 2, column score: scores are fractions: 86.4 looks like a percentage"
    )
    assert done.stderr.count("\n") == 1
    assert (
        "Traceback"
        in python("-m", "pipeline.compare", f"scores={path}", HYDRA_FULL_ERROR="1").stderr
    )


def test_the_scores_are_never_overwritten(python: Run, studies: Path) -> None:
    before = studies.read_bytes()
    link = studies.with_name("link.json")
    link.symlink_to(studies)
    for out in (studies, link):
        done = python("-m", "pipeline.compare", f"scores={studies}", f"out={out}")
        assert (done.returncode, done.stdout) == (1, "")
        assert "that is the file of scores" in done.stderr
    assert studies.read_bytes() == before


@pytest.mark.parametrize(
    ("out", "words"),
    [(".", "that is a folder"), ("", "that is a folder"), ("/proc/x/y", "cannot be written")],
)
def test_a_place_that_cannot_be_written_is_told(
    out: str, words: str, python: Run, studies: Path
) -> None:
    done = python("-m", "pipeline.compare", f"scores={studies}", f"out={out}")
    assert done.returncode == 1
    assert re.fullmatch(rf"error: out=.*: {words}.*\n", done.stderr)
    assert done.stderr.count("\n") == 1


def test_help_tells_the_columns_and_every_key(python: Run) -> None:
    done = python("-m", "pipeline.compare", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "arm,trial,validation,test" in done.stdout
    assert "arm,repeat,score" in done.stdout
    for key in (
        "scores: ???",
        "budget: 10",
        "margin: 0.01",
        "out: null",
        "alpha: 0.05",
        "looks: 1",
        "paired: auto",
    ):
        assert f"\n{key}\n" in done.stdout


def test_a_thousand_trials_an_arm_take_no_heavy_import(python: Run, path: Path) -> None:
    write_pool(path, 1000, {"lstm": 0.004, "gru": 0.0})
    done = python("-X", "importtime", "-m", "pipeline.compare", f"scores={path}")
    assert done.returncode == 0, done.stderr[-2000:]
    imported = set(re.findall(r"^import time:.*\|\s*(\w+)$", done.stderr, re.MULTILINE))
    assert {"hydra", "scipy"} <= imported
    assert not imported & HEAVY
