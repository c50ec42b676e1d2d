"""The report from top to bottom: its sections and what stands in them, of which Markdown and HTML are two forms."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.reporting import measure, sheets, words
from pipeline.reporting.caveats import caveats, split_caveat
from pipeline.reporting.sheets import Matrix, Table

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """A paragraph. `role` is one of plain, lead (the answer itself), note, code."""

    text: str
    role: str = "plain"


@dataclass(frozen=True)
class Bullets:
    """Sentences, a line each."""

    items: Sequence[str]


@dataclass(frozen=True)
class Terms:
    """Words and what they mean."""

    items: dict[str, str]


@dataclass(frozen=True)
class Plot:
    """A figure by its name in `plots.draw_all`; `title` says what it is, `caption` how to read it."""

    name: str
    title: str
    caption: str


FLAGS = "What the sanity gates flagged"
PROBE = "What limits a recurrent cell, measured on this machine"

Block = Text | Bullets | Terms | Table | Matrix | Plot


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it; `key` is its anchor."""

    key: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def tell(metrics: Metrics, study: dict[str, Any], figures: Sequence[str]) -> list[Section]:
    """The report.

    Args:
        metrics: what metrics.json holds.
        study: what study.json holds.
        figures: names of the figures that were drawn; others are left out.
    """
    sections = _searched(metrics, study) if metrics["trials"] else _recipes_alone(metrics, study)
    if metrics.get("probe"):
        # Before what the study does not show.
        sections.insert(-2, Section("probe", PROBE, probe(metrics["probe"])))
    told = [Section(one.key, one.title, [block for block in one.blocks if _there(block, figures)]) for one in sections]
    return [section for section in told if section.blocks]


def probe(told: dict[str, Any]) -> list[Block]:
    """What `limits_page.tell` gives."""
    figure = Plot("limits", "Gradients, recall and milliseconds against the number of steps", told["figure"])
    table = Table("The limits", ("limit", "measured", "number"), told["rows"])
    return [Text(told["how"]), table, figure, Bullets(told["notes"]), Text(told["machine"], "note")]


def _searched(metrics: Metrics, study: dict[str, Any]) -> list[Section]:
    return [
        Section("answer", "The question and the answer", _answer(metrics, study)),
        Section("flags", FLAGS, _flags(metrics)),
        Section("matrix", "The verdict matrix", _matrix(metrics, study)),
        Section("scores", "What each cell scores", _scores(metrics, study)),
        *([Section("recipes", "Recipes side by side", _side_by_side(metrics))] if len(study["recipes"]) > 1 else []),
        Section("forecast", "The forecasts", _forecast(metrics)),
        Section("pairs", "Every pair", _pairs(metrics)),
        Section("curves", "Tuning curves", _curves(metrics)),
        Section("anecdote", "The anecdote against the verdict", _anecdote(metrics, study)),
        Section("cost", "What it cost", _cost(metrics)),
        Section("importance", "What mattered in the search", _importance(metrics, study)),
        Section("components", "Where the spread comes from", _components(metrics)),
        Section("ledger", "The ledger", _ledger(metrics)),
        Section("limits", "What this does not show", [Bullets(caveats(metrics, study))]),
        Section("reproduce", "How to reproduce", _reproduce(metrics, study)),
    ]


def _recipes_alone(metrics: Metrics, study: dict[str, Any]) -> list[Section]:
    """The report of a study without a search."""
    told = measure.of(metrics)
    learning = Plot(
        "curves", "Learning curves of the recipe runs", f"Train and validation loss and {told.name} per epoch, a line a seed."
    )
    scores: list[Block] = [
        sheets.recipes(metrics),
        sheets.baselines(metrics),
        Text(words.baseline_sentence(metrics)),
        Text(_note(metrics), "note"),
    ]
    return [
        Section(
            "answer",
            "The question and the answer",
            [Text(words.question(metrics, study)), Text(words.answer(metrics), "lead"), Text(words.baseline_short(metrics))],
        ),
        Section("flags", FLAGS, _flags(metrics)),
        Section("scores", "What each recipe scores", scores),
        Section("recipes", "Recipes side by side", _side_by_side(metrics)),
        Section("forecast", "The forecasts", _forecast(metrics)),
        Section("curves", "Learning curves", [learning]),
        Section("ledger", "The ledger", _ledger(metrics)),
        Section("limits", "What this does not show", [Bullets(caveats(metrics, study))]),
        Section("reproduce", "How to reproduce", [*_whole_study(), _seeds(study)]),
    ]


def title(metrics: Metrics, study: dict[str, Any]) -> str:
    """The page's title."""
    return f"Study {metrics['study']}: {words.listed(study['cells'])} on {study['task']['name']}"


def _there(block: Block, figures: Sequence[str]) -> bool:
    """Whether a block holds anything to show."""
    if isinstance(block, Plot):
        return block.name in figures
    return bool(block.text if isinstance(block, Text) else block.rows if isinstance(block, Table | Matrix) else block.items)


def _answer(metrics: Metrics, study: dict[str, Any]) -> list[Block]:
    told = measure.of(metrics)
    return [
        Text(words.question(metrics, study)),
        Text(words.answer(metrics), "lead"),
        Plot(
            "verdict",
            "The gap of every pair of cells",
            f"Each pair's gap in test {told.name}: dot, estimate; thin line, {words.level(metrics)} interval for new searches and new "
            f"{told.groups}; thick line, for new searches on exactly these {told.examples}. In the grey band no gap matters.",
        ),
        Text(words.baseline_short(metrics)),
    ]


def _flags(metrics: Metrics) -> list[Block]:
    told = words.flag_sentences(metrics)
    if not told:
        return []
    return [Text("Seen while the study ran; what follows stands on it."), Bullets(told)]


def _matrix(metrics: Metrics, study: dict[str, Any]) -> list[Block]:
    told = sheets.matrix(metrics)
    return [
        *([told] if metrics["pairs"] else []),
        Text(
            "▲ ▼ better, worse; △ ▽ the same, but by less than the margin; ≈ equivalent within the margin; ? undecided; × no verdict.",
            "note",
        ),
        Terms(_glossary(metrics, study)),
    ]


def _glossary(metrics: Metrics, study: dict[str, Any]) -> dict[str, str]:
    told = measure.of(metrics)
    point = f"one hundredth of {told.name}: from 0.85 to 0.86 is 1 point"
    return {
        "configuration": "one value for every tuned hyperparameter",
        "trial": "one configuration, trained once",
        "headline budget": f"the size of the search that the verdict speaks of: {words.counted(metrics['headline'], 'trial')}",
        "replicate": "the best configuration, trained again with a fresh seed",
        "recipe": "a published setting, not tuned, trained with fresh seeds",
        "margin": f"the smallest gap that matters, fixed before the run: {words.margin(metrics)}",
        **({"point": point} if told.fraction else {"gap": "how much less the first of two needs: positive where it is better"}),
        "interval": f"where the true value lies in {words.level(metrics)} of such studies; the total one "
        f"counts the luck of the search and of the {told.groups} in the test set",
    }


def _scores(metrics: Metrics, study: dict[str, Any]) -> list[Block]:
    told = measure.of(metrics)
    return [
        Text(
            f"The first column is the result: the test {told.name} to expect from a search of "
            f"{words.counted(metrics['headline'], 'trial')}, computed from "
            f"{words.counted(metrics['trials'] * metrics['studies'], 'trial')} a cell. The replicates beside it say what one "
            "configuration does with fresh seeds: they are about that configuration, not about the cell."
        ),
        sheets.cells(metrics),
        Text(_note(metrics), "note"),
        Text(words.baseline_sentence(metrics)),
        sheets.optimism(metrics),
        Plot(
            "validation_test",
            f"Validation against test {told.name} of every trial",
            f"Every trial that finished, its validation against its test {told.name}; the lines are the "
            f"{words.beside(metrics).removeprefix('the ')}' test {told.name}.",
        ),
        *_recipes(metrics, study),
    ]


def _note(metrics: Metrics) -> str:
    """How the numbers of a table are to be read."""
    told = measure.of(metrics)
    failed = "the trivial baseline does" if "trivial" in metrics["baseline"] else "guessing does"
    what = {"accuracy": "Accuracies are fractions", "f1": "Micro-F1s are fractions", "nll": "Less is better"}
    return f"{what.get(told.metric, f'Errors are in {told.unit}, less is better')}, ± is the sample sd. A failed run scores as {failed}."


def _side_by_side(metrics: Metrics) -> list[Block]:
    return [
        sheets.side_by_side(metrics),
        sheets.recipe_gaps(metrics),
        Bullets([words.recipe_sentence(gap, metrics) for gap in metrics["recipe_gaps"]]),
        Text("Each such sentence is about this recipe on this test set, with fresh seeds; it is not about the cell.", "note"),
        sheets.printed(metrics),
    ]


def _forecast(metrics: Metrics) -> list[Block]:
    told = measure.of(metrics)
    return [
        sheets.horizons(metrics),
        Plot(
            "forecast",
            "What was forecast, and what came",
            f"The end of the test: what came (thick), each cell's forecast at the longest horizon and the best baseline's, in {told.unit}.",
        ),
    ]


def _recipes(metrics: Metrics, study: dict[str, Any]) -> list[Block]:
    return [sheets.recipes(metrics), Text(split_caveat(study), "note")] if study["recipes"] else []


def _pairs(metrics: Metrics) -> list[Block]:
    return [
        sheets.pairs(metrics),
        Bullets([words.verdict_sentence(pair, metrics) for pair in metrics["pairs"]]),
        sheets.tests(metrics),
        Text(
            f"Better: the first p-value with Holm is at most {metrics['alpha'] / metrics['looks']:g}. Equivalent: the second is. "
            "The intervals are each pair's own, the verdicts are corrected for all pairs. P(A beats B): of one search each, A's pick "
            f"{measure.of(metrics).leads}.",
            "note",
        ),
    ]


def _curves(metrics: Metrics) -> list[Block]:
    separate, told = metrics["design"] == "studies", measure.of(metrics)
    band = (
        "mean over the studies, with pointwise intervals" if separate else "the median best of n trials, with a simultaneous band"
    )
    dotted, open_side = ("lower", "above") if told.fraction else ("upper", "below")
    ends = f" Where only the dotted {dotted} end goes on, the band is open {open_side}: these trials cannot bound it."
    return [
        Text("What a smaller or a larger search would have found."),
        Plot(
            "tuning_validation",
            f"Best validation {told.name} against the size of the search",
            f"Validation: {band}.{'' if separate else ends} Dashed: the headline budget.",
        ),
        Plot(
            "tuning_test",
            f"Test {told.name} of what a search picks, against trials, epochs and seconds",
            f"Test {told.name} of the model that a search of each size picks, with pointwise intervals. Dashed: the headline budget.",
        ),
        Bullets([*words.order_sentences(metrics), *metrics.get("curve_notes", [])]),
        Plot(
            "search",
            "Every trial of each search, and the best so far",
            f"The best validation {told.name} so far{' (a line a study)' if separate else ''}, and every trial that finished.",
        ),
        Plot(
            "curves",
            "Learning curves of the champions and the recipe runs",
            f"Train and validation loss and {told.name} per epoch: each cell's champion (bold) and the recipe runs (thin).",
        ),
    ]


def _anecdote(metrics: Metrics, study: dict[str, Any]) -> list[Block]:
    return [
        Text(
            f"The usual anecdote runs every cell once and crowns the {measure.of(metrics).top}. How often would it have misled here?"
        ),
        Bullets(words.anecdote_sentences(metrics, study)),
        Plot(
            "anecdote",
            "How often one run a cell crowns each cell",
            "The probability of each cell's crown, a panel for each way of choosing the run.",
        ),
        sheets.anecdote(metrics),
        sheets.duels(metrics),
    ]


def _cost(metrics: Metrics) -> list[Block]:
    name = measure.of(metrics).name
    return [
        sheets.costs(metrics),
        Plot(
            "cost",
            f"Test {name} of each cell's search against its cost",
            f"Test {name} with its {words.level(metrics)} interval against three costs. A ring marks a cell that no other dominates.",
        ),
        Text(words.cost_sentence(metrics)),
    ]


def _importance(metrics: Metrics, study: dict[str, Any]) -> list[Block]:
    return [
        sheets.space(study),
        sheets.best(metrics),
        Text(words.champion_sentence(metrics)),
        sheets.importance(metrics),
        Plot(
            "importance",
            "What explains the spread of each cell's trials",
            f"Share of the spread of validation {measure.of(metrics).name} that each hyperparameter explains (fANOVA). Dashed: the "
            "largest share that shuffled scores show; only full bars are above it.",
        ),
        Bullets(words.edge_sentences(metrics)),
    ]


def _components(metrics: Metrics) -> list[Block]:
    told = measure.of(metrics)
    films = f" ({metrics['films']:,} {told.groups} in the test set)" if "films" in metrics else ""
    return [
        sheets.components(metrics),
        Text(
            f"Searches and {told.groups}{films} make the width of the total interval; seeds are the luck of one training, and part of "
            "the searches'.",
            "note",
        ),
    ]


def _ledger(metrics: Metrics) -> list[Block]:
    return [
        sheets.ledger(metrics),
        Text("Hours are the workers' own; the clock shows less where workers run side by side.", "note"),
    ]


def _reproduce(metrics: Metrics, study: dict[str, Any]) -> list[Block]:
    arm = metrics["champion"]["arm"]
    best = metrics["arms"][arm]["best"]
    return [
        *_whole_study(),
        Text(f"One trial alone, here the best of {arm} (trial {best['trial']}):"),
        Text(f"python -m pipeline.train {' '.join(best['overrides'])}", "code"),
        _seeds(study),
    ]


def _whole_study() -> list[Block]:
    return [Text("`dvc repro` runs the whole study, and only what is missing of it:"), Text("dvc repro", "code")]


def _seeds(study: dict[str, Any]) -> Text:
    return Text(
        f"Seeds: {words.settings(study['seeds'])}. Data digest `{study['data']['digest']}`. Protocol {study['protocol']}, backend "
        f"{study['backend']}. Every number above is in `metrics.json`, and recomputed from `../scores/`."
    )
