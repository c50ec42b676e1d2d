"""What a plan tells, and what it warns of."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.config import Cluster, Search
from pipeline.planning import cost, words
from pipeline.planning.earlier import Basis
from pipeline.planning.ledger import Arm, Kind
from pipeline.planning.plan import Machine, Plan
from pipeline.planning.power import power
from planning.examples import ARM, CONFIG, INPUTS, terms

BASIS = Basis(2, 0.005, 0.005, 0.005, 0.15, 0.5, "study other, of the same task")
MACHINE = Machine(cores=2, available=8 * 2**30, limit=6 * 2**30, disk=10**12, load=0.2)
STUDY = replace(CONFIG, cells=["rnn", "gru"])
ROWS = replace(INPUTS, test=25_000)


def plan(**changes: Any) -> Plan:
    """A plan of two equal arms; `changes` are fields of it."""
    arms = [cost.of_arm(arm, terms(lanes=2)) for arm in (ARM, replace(ARM, name="rnn"))]
    probe = terms(lanes=2).probe
    made = Plan(
        STUDY, ROWS, MACHINE, arms, 100.0, 0.0, BASIS, power(STUDY.search, BASIS, 25_000), probe, 0.5, BASIS.source, 2, 0.0, 42.0
    )
    return replace(made, **changes)


def text(**changes: Any) -> str:
    return "\n".join(words.blocks(plan(**changes)))


def test_the_table_adds_up() -> None:
    header, *arms, rest, together = words.budget(plan())
    assert header[:4] == ["arm", "trials", "other runs", "epochs"]
    assert [row[1:5] for row in (*arms, together)] == [["6", "5", "56", "92"]] * 2 + [["12", "10", "112", "184"]]
    assert rest[0] == "other stages"
    hours = [float(row[5]) for row in (*arms, rest)]
    assert float(together[5]) == pytest.approx(sum(hours), abs=0.011)


def test_what_it_speaks_of_is_told() -> None:
    told = text()
    assert "Study tiny: rnn and gru; a pool of N = 10 trials a cell, for a search of n = 2; tensorflow." in told
    assert "invented rows of the task's shape, as its data are not here yet" in told
    assert "rows of the study" in text(inputs=replace(ROWS, folder="data/tiny/arrays"))
    assert "use 50 % of their epochs, from study other, of the same task" in told
    assert "10 runs of these arms finished earlier and are not counted." in told


def test_the_power_is_that_of_the_margin_and_half_of_it() -> None:
    search = replace(STUDY.search, trials=60, headline=10)
    basis = replace(BASIS, headline=10)
    told = text(config=replace(STUDY, search=search), basis=basis, power=power(search, basis, 25_000))
    assert "with N = 60 and n = 10 you will most likely see gaps of 1 point (chance " in told
    assert ", not 0.5 points (chance " in told
    assert "; for 0.5 points plan N = 1" in told
    assert "rests on study other, of the same task: there the gap of one search of n = 10 a cell was off by 0.50 points" in told


@pytest.mark.parametrize(
    ("search", "rows", "expected"),
    [
        (
            Search(trials=10, headline=2, margin=0.1),
            25_000,
            "you will most likely see gaps of 5 points (chance >0.99), half the margin.",
        ),
        (
            Search(trials=10, headline=2, margin=0.005),
            25_000,
            "not see gaps of 0.5 points (chance 0.47), the margin, but of 0.75 points; for 0.5 points plan N = 24.",
        ),
        (
            Search(trials=10, headline=2, margin=0.002),
            400,
            "no number of them shows 0.2 points, as the test set alone is too small.",
        ),
        (Search(design="studies", trials=2, headline=2), 25_000, "with K = 5 studies of 2 trials you will most likely"),
    ],
)
def test_every_size_has_its_sentence(search: Search, rows: int, expected: str) -> None:
    assert expected in text(config=replace(STUDY, search=search), power=power(search, BASIS, rows))


def test_a_study_without_a_verdict_has_no_power() -> None:
    assert "no verdict" in text(config=replace(STUDY, search=Search(trials=0)), power=None)
    assert "one cell alone" in text(config=CONFIG, power=None)
    unknown = text(power=None, basis=None)
    assert "Power: not known before the first study of task tiny" in unknown


@pytest.mark.parametrize(
    ("workers", "machine", "expected"),
    [
        (2, MACHINE, "Workers: 2, as many as this machine can well have (2 cores, 8.0 GiB of memory free)."),
        (
            1,
            MACHINE,
            "Workers: 1; this machine can have 2 (2 cores, 8.0 GiB of memory free), and cluster.workers=2 takes about 50%",
        ),
        (4, MACHINE, "Workers: 4 share 2 cores, which is no faster: set cluster.workers=2."),
        (
            2,
            replace(MACHINE, available=2**30 + 2**28),
            "will not fit into the memory (2 cores, 1.2 GiB of memory free). Set cluster.workers=1.",
        ),
        (
            1,
            replace(MACHINE, available=2**29),
            "will not fit into the memory (2 cores, 512 MiB of memory free). Lower the widths",
        ),
        (
            2,
            replace(MACHINE, limit=2**30),
            "Warning: a worker will hold up to 1.0 GiB, and Dask stops one at 80 % of 1.0 GiB. Set cluster.memory=1.2GiB",
        ),
        (2, replace(MACHINE, disk=1000), "of disk are needed and 0 MiB are free. Make room before you begin."),
    ],
)
def test_workers_memory_and_disk(workers: int, machine: Machine, expected: str) -> None:
    assert expected in text(config=replace(STUDY, cluster=Cluster(workers=workers)), machine=machine)


def test_other_machines_are_told_apart_from_this_one() -> None:
    told = text(config=replace(STUDY, cluster=Cluster(kind="slurm", workers=16)), lanes=16)
    assert "cluster=slurm: counted as 16 workers, each as fast as one of this machine" in told
    assert "Each worker needs " in told


def test_a_pruner_and_typical_spreads_are_told() -> None:
    search = Search(design="studies", trials=2, headline=2, pruner="median")
    told = text(config=replace(STUDY, search=search), basis=replace(BASIS, low=0.001, high=0.01))
    assert "search.pruner=median ends runs earlier; that is not counted." in told
    assert "off by 0.50 points (from 0.10 in one to 1.00 in another)" in told


def test_a_busy_machine_is_told() -> None:
    assert "Warning: this machine was busy already (a load of 6.0 on 2 cores)" in text(machine=replace(MACHINE, load=6.0))
    assert "busy" not in text()


def test_nothing_left_is_told() -> None:
    told = text(arms=[], probe=None)
    assert "Nothing is left to train: every run is finished already." in told
    assert "Wall time" not in told
    assert "Power: with N = 10" in told
    assert Arm("rnn", [Kind("trial", 4, 4, [CONFIG])]).left == 0
