"""The types of metrics.json, the summary of a study.

Scores are higher better: fractions, or errors and nats per step, negated. Gaps are a minus b. Times
are seconds of a worker.
"""

from typing import Any, NotRequired, TypedDict


class Spread(TypedDict):
    """Scores of several runs. `sd` is the sample standard deviation, None for one run."""

    mean: float
    sd: float | None
    n: int
    min: float
    max: float


class RecipeSpread(Spread):
    """Test scores and losses of the runs of one recipe."""

    loss_mean: float
    loss_sd: float | None


class Tuned(TypedDict):
    """Expected test score of a search of the budget's size.

    `low` and `high` are for new searches and new groups, `search_low` and `search_high` for new
    searches on the same test set.
    """

    mean: float
    low: float
    high: float
    se: float
    df: float
    search_low: float
    search_high: float


class Components(TypedDict):
    """Standard deviations of a score. `icc` and `best_retrainings`: of repeated searches only."""

    searches: float
    seeds: float | None
    groups: float
    icc: NotRequired[float | None]
    best_retrainings: NotRequired[float | None]


class Best(TypedDict):
    """The trial with the best validation score."""

    repeat: int
    trial: int
    overrides: list[str]


class Arm(TypedDict):
    """One arm. A study without a search has the recipes only."""

    recipe: RecipeSpread | None
    recipes: dict[str, RecipeSpread]
    tuned: NotRequired[Tuned]
    replicates: NotRequired[Spread]
    validation_of_best: NotRequired[float]
    optimism: NotRequired[float]
    parameters: NotRequired[int]
    epochs: NotRequired[int]
    seconds: NotRequired[float]
    trials: NotRequired[int]
    failed: NotRequired[int]
    pruned: NotRequired[int]
    champion: NotRequired[int]
    best: NotRequired[Best]
    components: NotRequired[Components]


class Needed(TypedDict):
    """Trials per cell of a new study that decides a pair with 80 % probability; `safe` is an upper estimate."""

    likely: int
    safe: int


class Pair(TypedDict):
    """Two arms compared. `p_…_holm` are adjusted for all pairs of the study."""

    a: str
    b: str
    gap: float
    low: float
    high: float
    df: float
    se: float
    search_low: float
    search_high: float
    search_df: float
    search_se: float
    group_se: float
    p_superior: float
    p_equivalent: float
    p_superior_holm: float
    p_equivalent_holm: float
    probability_within_margin: float
    probability_a_beats_b: float | None
    probability_low: float | None
    probability_high: float | None
    verdict: str
    trials_needed: Needed | None
    refusal: NotRequired[str]


class Baseline(TypedDict):
    """A baseline. `settings` is the number of settings among which validation chose."""

    validation: float
    test: float
    loss: float
    auc: float | None
    settings: int
    seconds: float
    ngrams: NotRequired[int]
    C: NotRequired[float]
    features: NotRequired[int]
    chosen: NotRequired[dict[str, Any]]


class RecipeGap(TypedDict):
    """The gap of two cells within one recipe, with the 95 % interval over seeds."""

    recipe: str
    a: str
    b: str
    gap: float
    low: float | None
    high: float | None


class Published(TypedDict):
    """Published numbers of one recipe and cell beside ours. `below` counts our seeds below them."""

    recipe: str
    arm: str
    n: int
    score: float | None
    ours: Spread
    below: int | None
    loss: float | None
    our_loss: Spread
    loss_below: int | None


class Flag(TypedDict):
    """A problem that a check found, and the arms in which it found it."""

    check: str
    arms: list[str]
    message: str
    remedy: str


class Edge(TypedDict):
    """An end of a range in whose outer tenth the best trial of an arm lies."""

    key: str
    side: str
    value: float
    position: float
    chance: float
    chance_any: float
    warning: bool
    remedy: str


class Importance(TypedDict):
    """Shares of the variance of validation scores that single hyperparameters explain."""

    evaluator: str
    trials: int
    shares: dict[str, float]
    baseline: float | None
    named: list[str]
    note: str | None


class Summary(TypedDict):
    """metrics.json: every number of the report."""

    study: str
    protocol: int
    design: str
    sampler: str
    pruner: str
    repeats: int
    trials: int
    budget: int
    margin: float
    alpha: float
    looks: int
    backend: str
    winner: str | None
    leaders: list[str]
    pairs: list[Pair]
    arms: dict[str, Arm]
    baseline: dict[str, Baseline]
    champion: dict[str, Any] | None
    groups: int
    single_run: NotRequired[dict[str, Any]]
    compute: dict[str, dict[str, dict[str, Any]]]
    measure: dict[str, Any]
    recipe_gaps: list[RecipeGap]
    printed: list[Published]
    commits: NotRequired[dict[str, int]]
    flags: NotRequired[list[Flag]]
    horizons: NotRequired[dict[str, list[float]]]
    order_changes: NotRequired[list[dict[str, Any]]]
    curve_notes: NotRequired[list[str]]
    importance: NotRequired[dict[str, Importance]]
    edges: NotRequired[dict[str, list[Edge]]]
    probe: NotRequired[dict[str, Any]]
