"""train: one run of any configuration, recorded in MLflow; with -m, a grid of them. It never sees a test label."""

from pipeline.config import Config, command, task_overrides
from pipeline.errors import FairsweepError


@command
def main(config: Config) -> float:
    from pipeline.search.state import Job, Record, now
    from pipeline.tracking import log_one
    from pipeline.training.fit import Epoch
    from pipeline.training.work import load_data, train

    def show(number: int, epoch: Epoch) -> None:
        print(
            f"epoch {number}/{config.train.epochs}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.4f}, "
            f"validation loss {epoch.validation_loss:.4f}, validation {epoch.validation:.4f}",
            flush=True,
        )

    data = load_data(config)
    started = now()
    run = train(config, on_epoch=show)
    log_one(config, data.digest, Record(Job("train", 0, config, task_overrides()), run, 1, "local", started))
    if run.best is None:
        raise FairsweepError(f"{config.cell.arm} failed: {run.reason}")
    print(
        f"{config.cell.arm}: validation {run.best.validation:.4f} in epoch {run.best_epoch} of {len(run.epochs)}, {run.seconds:.0f} s"
    )
    return run.best.validation


if __name__ == "__main__":
    main()
