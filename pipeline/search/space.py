"""The search space: one row of it drawn from (space seed, row) alone, as Hydra overrides and as Optuna parameters."""

import math
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.config import Config, Parameter, leaves, parameters
from pipeline.errors import FairsweepError

TYPES = {key: field.type for key, field in leaves()}


def distribution(key: str, parameter: Parameter) -> BaseDistribution:
    """The Optuna distribution of one searched `key`; whole numbers where the schema wants them."""
    if parameter.choices is not None:
        return CategoricalDistribution(parameter.choices)
    assert parameter.low is not None
    assert parameter.high is not None
    if TYPES.get(key) is int:
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def distributions(config: Config) -> dict[str, BaseDistribution]:
    """{key: distribution} of the study's space, sorted by key."""
    return {key: distribution(key, parameter) for key, parameter in parameters(config).items()}


def sample(spread: BaseDistribution, rng: np.random.Generator) -> Any:
    """One value, uniform on the scale of `spread`; real numbers keep six significant digits so that overrides read well."""
    if isinstance(spread, CategoricalDistribution):
        return spread.choices[rng.integers(len(spread.choices))]
    assert isinstance(spread, IntDistribution | FloatDistribution)
    low, high = float(spread.low), float(spread.high)
    if isinstance(spread, IntDistribution) and spread.log:
        value = math.exp(rng.uniform(math.log(low - 0.5), math.log(high + 0.5)))
        return int(min(max(round(value), low), high))
    if spread.step is not None:
        steps = math.floor((high - low) / spread.step + 1e-9) + 1
        value = low + spread.step * int(rng.integers(steps))
        return int(value) if isinstance(spread, IntDistribution) else float(f"{value:.6g}")
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if spread.log else rng.uniform(low, high)
    return min(max(float(f"{value:.6g}"), low), high)


def draw(config: Config, row: int) -> dict[str, Any]:
    """Row `row` of the study's table, {key: value}: a function of (space, space seed, row), so N can grow later."""
    rng = np.random.default_rng([config.space_seed, row])
    return {key: sample(spread, rng) for key, spread in distributions(config).items()}


def overrides(values: Mapping[str, Any]) -> list[str]:
    """`values` as Hydra overrides, which `values_of` reads back."""
    return [f"{key}={_written(value)}" for key, value in values.items()]


def _written(value: Any) -> str:
    words: dict[Any, str] = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def values_of(
    config: Config, row: typing.Sequence[str], table: str = "the drawn table", remedy: str = "Draw it again: dvc repro draw"
) -> dict[str, Any]:
    """The values in `row` of `table`, a list of overrides, held against the space.

    Raises FairsweepError for a key that is not searched, one that is missing, or a value outside its range: Optuna would use
    the value with a warning and drop the key in silence.
    """
    import yaml

    spread = distributions(config)
    texts = dict(override.split("=", 1) for override in row)
    if set(texts) != set(spread):
        odd = sorted(set(texts) ^ set(spread))
        raise FairsweepError(f"{table} and the study's space, of conf/space, differ in {', '.join(odd)}. {remedy}")
    values = {}
    for key, text in texts.items():
        try:
            own = spread[key]
            # YAML reads 1e-05 as text: a choice is known by how it is written.
            choices = {_written(choice): choice for choice in own.choices} if isinstance(own, CategoricalDistribution) else {}
            value: Any = choices[text] if text in choices else yaml.safe_load(text)
            value = float(value) if isinstance(own, FloatDistribution) else value
            inside = own._contains(own.to_internal_repr(value))
        except (TypeError, ValueError):
            inside = False
        if not inside:
            raise FairsweepError(f"{table} has {key}={text}, outside {spread[key]}. {remedy}")
        values[key] = value
    return values
