"""plan: what a study will take, and what it will be able to show, from a probe of less than a minute on this machine.

Nothing of the study's budget is spent, and nothing is written but caches.
"""

from pipeline.config import Config, command, task_overrides


@command(folder=False)
def main(config: Config) -> None:
    from pipeline.planning import words
    from pipeline.planning.plan import made

    for block in words.blocks(made(config, task_overrides())):
        print(f"{block}\n")


if __name__ == "__main__":
    main()
