"""train: one run of any configuration, recorded in MLflow; with -m, a grid of them. It never sees a test label.

Arrays that no stage has made, of another task or another vocabulary, it makes itself, in `.fairsweep/data/`.
"""

from pipeline.config import Config, command, task_overrides
from pipeline.errors import FairsweepError


@command
def main(config: Config) -> float:
    from pipeline.data.prepare import prepared
    from pipeline.gates import flags, inputs
    from pipeline.models.build import build_model, check_model
    from pipeline.search.state import Job, Record, now
    from pipeline.tracking import check_store, log_one
    from pipeline.training import backend
    from pipeline.training.fit import Epoch
    from pipeline.training.work import load_data, train

    def show(number: int, epoch: Epoch) -> None:
        print(
            f"epoch {number}/{config.train.epochs}: loss {epoch.loss:.4f}, {data.form.metric} {data.form.told(epoch.accuracy)}, "
            f"validation loss {epoch.validation_loss:.4f}, validation {data.form.told(epoch.validation)}",
            flush=True,
        )

    check_store()
    folder = prepared(config)
    data = load_data(config, folder)
    check_model(config, data.form)
    # One run by hand may be there to see a fault at work: it is told of, and never stopped.
    flags.warn(config, "train", inputs.of_run(config, data))
    backend.use(config.train.backend)
    build_model(config, data.form).summary()
    started = now()
    run = train(config, on_epoch=show, folder=folder)
    log_one(config, data.digest, Record(Job("train", 0, config, task_overrides()), run, 1, "local", started))
    if run.best is None:
        raise FairsweepError(
            f"{config.cell.arm} failed: {run.reason}. Expected finite scores: try a lower train.learning_rate, train.clipnorm=1, or "
            "other settings."
        )
    scored = f"validation {data.form.told(run.best.validation)} in epoch {run.best_epoch} of {len(run.epochs)}"
    print(f"{config.cell.arm}: {scored}, {run.seconds:.0f} s")
    return run.best.validation


if __name__ == "__main__":
    main()
