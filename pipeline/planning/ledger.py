"""What each arm of a study has still to train: what is in the state already is not counted again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.config import Config, check_design, compose, with_overrides
from pipeline.models.build import check_model
from pipeline.planning.inputs import Inputs
from pipeline.search.space import draw, overrides
from pipeline.search.state import Job, State, own_overrides, place, search_settings, settings

# So many configurations stand for a search of more.
MOST = 60


@dataclass(frozen=True)
class Kind:
    """Runs of one kind of an arm: `trial`, `tuned`, or a recipe.

    Attributes:
        name: of the kind.
        runs: all of them.
        done: that have finished already.
        configs: what they are, or what stands for them: of `tuned`, of which the best is not known yet, the trials.
    """

    name: str
    runs: int
    done: int
    configs: Sequence[Config]

    @property
    def left(self) -> int:
        """Runs to be trained."""
        return self.runs - self.done


@dataclass(frozen=True)
class Arm:
    """An arm with the kinds of its runs; `trial` first, where there is a search."""

    name: str
    kinds: list[Kind] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Runs to be trained, of all kinds."""
        return sum(kind.left for kind in self.kinds)


def arms(config: Config, given: Sequence[str], inputs: Inputs) -> list[Arm]:
    """The arms of `config`, which the overrides `given` gave.

    Raises:
        FairsweepError: a design no verdict could follow from, or a network that cannot be built.
    """
    check_design(config)
    shared = [one for one in given if not one.startswith("cell=")]
    recipes = {name: compose([*shared, f"recipe={name}"]) for name in config.recipes}
    made = []
    for cell in config.cells:
        own = compose([*shared, f"cell={cell}"])
        made.append(_arm(own, {name: replace(recipe, cell=own.cell) for name, recipe in recipes.items()}, inputs))
    return made


def _arm(config: Config, recipes: Mapping[str, Config], inputs: Inputs) -> Arm:
    for one in (config, *recipes.values()):
        check_model(one, inputs.form)
    search, folder = config.search, place(settings(config, "replicate", inputs.digest))
    kinds, studies = [], config.search.numbers
    if search.trials:
        trials = _trials(config, inputs)
        retrained = sum(len(_finished(folder, config, "tuned", study) & set(range(search.replicates))) for study in studies)
        tuned = Kind("tuned", len(studies) * search.replicates, 0 if trials.left else retrained, trials.configs)
        kinds += [trials, tuned]
    for name, recipe in recipes.items():
        jobs = [_job(config, recipe, name, study, number) for study in studies for number in range(search.replicates)]
        done = sum(State(folder).path(job).exists() for job in jobs)
        kinds.append(Kind(name, len(jobs), done, [recipe]))
    return Arm(config.cell.arm, kinds)


def _trials(config: Config, inputs: Inputs) -> Kind:
    """The search. Of separate studies random configurations stand for those that a sampler will ask for."""
    search, folder = config.search, place(search_settings(config, inputs.digest))
    done = [_finished(folder, config, "trial", study) & set(range(search.trials)) for study in search.numbers]
    pooled = search.design == "pool"
    left = [row for row in range(search.trials) if not (pooled and row in done[0])] or list(range(search.trials))
    configs = [with_overrides(config, overrides(draw(config, row))) for row in left[:MOST]]
    return Kind("trial", len(search.numbers) * search.trials, sum(map(len, done)), configs)


def _finished(folder: Path, config: Config, kind: str, study: int) -> set[int]:
    """The numbers of the finished runs of a kind: the folder is of one space and one set of seeds, so a number is one run."""
    start = f"{kind}-s{study}-" if config.search.design == "studies" else f"{kind}-"
    return {int(path.name.removeprefix(start).split("-")[0]) for path in folder.glob(f"{start}*.npz")}


def _job(config: Config, recipe: Config, kind: str, study: int, number: int) -> Job:
    return Job(kind, number, with_overrides(recipe, own_overrides(config, study, kind, number)), [], study=study)
