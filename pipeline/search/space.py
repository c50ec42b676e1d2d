"""The search space, and configurations sampled from it as values and as Hydra overrides."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ..config.schema import OPTIONS, Config, Parameter, leaves, own_parameters, parameters
from ..errors import FairsweepError

TYPES = {key: field.type for key, field in leaves()}


def distribution(key: str, parameter: Parameter) -> BaseDistribution:
    """Return the Optuna distribution of the searched `key`.

    It is one of integers if the schema requires them, or if an arm's own key has integer bounds.
    """
    if parameter.choices is not None:
        return CategoricalDistribution(parameter.choices)
    low, high, log, step = parameter.low, parameter.high, parameter.log, parameter.step
    assert low is not None
    assert high is not None
    integers = all(float(bound).is_integer() for bound in (low, high, step or 1))
    if TYPES.get(key) is int or (key.startswith(OPTIONS) and integers):
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=step)


def shared_distributions(config: Config) -> dict[str, BaseDistribution]:
    """Return {key: distribution} of the space that all arms share, sorted by key."""
    return {key: distribution(key, parameter) for key, parameter in parameters(config).items()}


def own_distributions(config: Config) -> dict[str, BaseDistribution]:
    """Return {key: distribution} of the keys that only this arm searches, sorted by key."""
    return {key: distribution(key, parameter) for key, parameter in own_parameters(config).items()}


def distributions(config: Config) -> dict[str, BaseDistribution]:
    """Return {key: distribution} of all searched keys of the arm: the shared ones, then its own."""
    return shared_distributions(config) | own_distributions(config)


def sample(spread: BaseDistribution, rng: np.random.Generator) -> Any:
    """Sample one value, uniform on the scale of `spread`.

    Real numbers have at most six significant digits, so that overrides are short.
    """
    if isinstance(spread, CategoricalDistribution):
        return spread.choices[rng.integers(len(spread.choices))]
    assert isinstance(spread, IntDistribution | FloatDistribution)
    integer, low, high = isinstance(spread, IntDistribution), float(spread.low), float(spread.high)
    if integer and spread.log:
        value = math.exp(rng.uniform(math.log(low - 0.5), math.log(high + 0.5)))
        return int(min(max(round(value), low), high))
    if spread.step is not None:
        steps = math.floor((high - low) / spread.step + 1e-9) + 1
        value = low + spread.step * int(rng.integers(steps))
        return int(value) if integer else float(f"{value:.6g}")
    scale = math.log if spread.log else float
    value = rng.uniform(scale(low), scale(high))
    return min(max(float(f"{math.exp(value) if spread.log else value:.6g}"), low), high)


def configuration(config: Config, row: int) -> dict[str, Any]:
    """Return the shared values {key: value} of row `row` of the sampled configurations.

    They depend only on the shared space, the space seed and `row`, so the number of rows can grow.
    """
    rng = np.random.default_rng([config.space_seed, row])
    return {key: sample(spread, rng) for key, spread in shared_distributions(config).items()}


def own_configuration(config: Config, row: int) -> dict[str, Any]:
    """Return the values {key: value} of the arm's own keys in row `row`.

    Each value depends only on the distribution of its key, the space seed, `row` and the key.
    """
    values = {}
    for key, spread in own_distributions(config).items():
        key_seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        values[key] = sample(spread, np.random.default_rng([config.space_seed, row, key_seed]))
    return values


def overrides(values: Mapping[str, Any]) -> list[str]:
    """Return `values` as Hydra overrides; `values_of` is the inverse."""
    return [f"{key}={_written(value)}" for key, value in values.items()]


def _written(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def values_of(
    config: Config,
    row: Iterable[str],
    table: str = "the table of sampled configurations",
    remedy: str = "Run: dvc repro sample",
    expected: Mapping[str, BaseDistribution] | None = None,
) -> dict[str, Any]:
    """Return the values {key: value} in `row`, checked against the search space.

    Optuna would ignore a key that is not searched, and would only warn of a value out of range.

    Args:
        row: overrides, one per searched key.
        table: where `row` comes from, for the message.
        remedy: what to do, for the message.
        expected: the search space; by default that of the arm.

    Raises:
        FairsweepError: a key is not searched, is missing, or has a value outside its range.
    """
    space = distributions(config) if expected is None else expected
    texts = dict(override.split("=", 1) for override in row)
    if odd := sorted(set(texts) ^ set(space)):
        raise FairsweepError(
            f"{table} and the study's search space (conf/space and conf/cell) differ in "
            f"{', '.join(odd)}. {remedy}"
        )
    values = {}
    for key, text in texts.items():
        try:
            values[key] = _read(text, space[key])
        except (KeyError, TypeError, ValueError):
            raise FairsweepError(
                f"{table} has {key}={text}, outside {space[key]}. {remedy}"
            ) from None
    return values


def _read(text: str, spread: BaseDistribution) -> Any:
    """Return the value of `text`. Raises KeyError, TypeError or ValueError outside `spread`."""
    if isinstance(spread, CategoricalDistribution):
        # YAML reads 1e-05 as text, so a choice is identified by how it is written.
        return {_written(choice): choice for choice in spread.choices}[text]
    value = yaml.safe_load(text)
    if isinstance(spread, FloatDistribution):
        value = float(value)
    if not spread._contains(spread.to_internal_repr(value)):
        raise ValueError(text)
    return value
