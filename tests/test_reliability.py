"""docs/reliability.md says what docs/reliability.json holds, and nothing else."""

import json

import torture

FOUND = {
    "faults": {
        **{"kills": 2, "studies": 1, "restarts": 2, "kill -9: worker": 1, "kill -9: dvc": 1},
        **{"orphans": 0, "trials lost": 3, torture.EMPTIED: 0},
    },
    "long_run": {
        "trials": 60,
        "coordinator": {"mb": 300.0, "mb_a_1000_trials": 1.5, "files_a_1000_trials": 0.0},
        "worker": {"mb": 400.0, "mb_a_1000_trials": -0.2, "files_a_1000_trials": 0.0},
        "seconds_a_trial": {"second_tenth": 0.5, "last_tenth": 0.6},
    },
}


def test_the_table_is_that_of_the_results() -> None:
    page = torture.PAGE.read_text()
    assert torture.with_table(page, json.loads(torture.RESULTS.read_text())) == page


def test_what_was_lost_is_told() -> None:
    told = torture.table(FOUND).splitlines()
    assert "| processes killed with -9 at random moments of 1 studies of 60 trials | 2 (worker 1, dvc 1) |" in told
    assert "| trials lost | 3 |" in told
    assert "| a worker in one study of 60 trainings | 400 MB, -0.2 MB and +0 open files a 1,000 trials |" in told
