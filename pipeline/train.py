"""train: one run of any configuration, recorded in MLflow; with -m, a grid of them.

It never reads a test label. Arrays that no stage has written, or of another task or vocabulary, are
prepared in `.fairsweep/data/`.
"""

from .config.cli import command
from .config.compose import task_overrides
from .config.schema import Config
from .errors import FairsweepError


@command
def main(config: Config) -> float:
    """Train one run, print its epochs, and return its validation score."""
    from .checks import flags, inputs
    from .data.registry import prepared
    from .models.build import build_model, check_model
    from .search.run_store import Job, Record, now
    from .tracking import check_store, log_one
    from .training import backend
    from .training.fit import Epoch
    from .training.worker import load_data, train

    def show(number: int, epoch: Epoch) -> None:
        print(
            f"epoch {number}/{config.train.epochs}: loss {epoch.loss:.4f}, "
            f"{data.spec.metric} {data.spec.format(epoch.accuracy)}, "
            f"validation loss {epoch.validation_loss:.4f}, "
            f"validation {data.spec.format(epoch.validation)}",
            flush=True,
        )

    check_store()
    folder = prepared(config)
    data = load_data(config, folder)
    check_model(config, data.spec)
    # Warn only, because a single run may be there to study a fault.
    flags.warn(config, "train", inputs.check_run(config, data))
    backend.use(config.train.backend)
    build_model(config, data.spec).summary()
    started = now()
    run = train(config, on_epoch=show, folder=folder)
    job = Job("train", 0, config, task_overrides())
    log_one(config, data.digest, Record(job, run, 1, "local", started))
    if run.best is None:
        raise FairsweepError(
            f"{config.cell.arm} failed: {run.reason}. Try a lower train.learning_rate, "
            "train.clipnorm=1, or other settings."
        )
    print(
        f"{config.cell.arm}: validation {data.spec.format(run.best.validation)} in epoch "
        f"{run.best_epoch} of {len(run.epochs)}, {run.seconds:.0f} s"
    )
    return run.best.validation


if __name__ == "__main__":
    main()
