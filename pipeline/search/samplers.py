"""The samplers and pruners of separate studies, by the names of the config."""

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from pipeline.search.state import STARTUP


def sampler(name: str, seed: int) -> BaseSampler:
    """A new sampler `random`, `tpe`, `cmaes` or `gp`: what it learns from is the study's finished trials alone."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
    if name == "cmaes":
        # It draws choices at random, which no warning a trial need repeat.
        return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=STARTUP, warn_independent_sampling=False)
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP)


def pruner(name: str, epochs: int) -> BasePruner:
    """The pruner `none`, `median`, `asha` or `hyperband` of runs of at most `epochs` epochs, which are its steps, from 1."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=1)
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    return optuna.pruners.NopPruner()
