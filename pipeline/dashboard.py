"""dashboard: the searches of a study in Optuna Dashboard, on 127.0.0.1 until Ctrl-C. Needs the extra `dashboards`.

It shows copies that follow the study, every arm in one place: its buttons delete and add trials, and nothing of that reaches the
study. python -m pipeline.dashboard study=NAME
"""

import contextlib
import socketserver
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from pipeline.config import Config, command
from pipeline.errors import FairsweepError
from pipeline.files import study_root

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

    from pipeline.search.survey import Survey

HOST, PORT = "127.0.0.1", 8080
FOLLOW_SECONDS = 5.0


class Quiet(WSGIRequestHandler):
    """Requests are not the terminal's business."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread a request, none of which keeps the process from ending."""

    daemon_threads = True


class Copies:
    """The searches of a study in memory: each arm's Optuna study, its finished trials under numbers of their own."""

    def __init__(self, config: Config, survey: "Survey") -> None:
        from optuna.storages import InMemoryStorage

        self.config, self.survey = config, survey
        self.storage = InMemoryStorage()
        self.taken: dict[str, set[int]] = {}

    def follow(self) -> int:
        """Take over what has finished since the last time; gives the number of searches."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        for name, storage, copy in self._searches():
            # A coordinator may just be making the study, or its tables.
            with contextlib.suppress(KeyError, StorageInternalError, SQLAlchemyError):
                self._take(name, storage, copy)
        return len(self.taken)

    def _searches(self) -> Iterator[tuple[str, "RDBStorage", str]]:
        """(name in its storage, storage, name of its copy) of every search that has begun."""
        from pipeline.search.state import State
        from pipeline.search.storage import opened, study_name

        url, several = self.config.search.storage, self.config.search.design == "studies"
        for (stage, arm), folder in self.survey.folders().items():
            path = folder / "study.db"
            if stage != "tune" or arm not in self.config.cells or not (url or path.exists()):
                continue
            storage = opened(url) if url else read_only(path)
            own = replace(self.config, cell=replace(self.config.cell, arm=arm))
            try:
                for number in self.config.search.numbers if several else [None]:
                    copy = f"{arm}, study {number}" if several else arm
                    yield study_name(own, State(folder), number), storage, copy
            finally:
                storage.remove_session()
                storage.engine.dispose()

    def _take(self, name: str, storage: "RDBStorage", copy: str) -> None:
        """Add the finished trials of a search that its copy lacks; raises KeyError when the search is not there yet."""
        import optuna

        trials = storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
        finished = {trial.number: trial for trial in trials if trial.state.is_finished()}
        study = optuna.create_study(storage=self.storage, study_name=copy, direction="maximize", load_if_exists=True)
        if copy not in self.taken:
            study.set_metric_names(["validation"])
            describe(study, self.config, copy)
        taken = self.taken.setdefault(copy, set())
        for number in sorted(finished.keys() - taken):
            study.add_trial(finished[number])
            taken.add(number)


def describe(study: Any, config: Config, copy: str) -> None:
    """The note on the study's page."""
    from optuna_dashboard import save_note

    save_note(
        study,
        f"The search of **{copy}** in the study {config.name}: validation scores, higher is better. Which cell is better, and how sure "
        f"that is, the report says: `results/{config.name}/report/report.html`. This is a copy; what is changed here stays here.",
    )


def read_only(path: Path) -> "RDBStorage":
    """The SQLite file of a search, that its coordinator may be writing to."""
    from optuna.storages import RDBStorage

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60, check_same_thread=False)

    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect}, skip_table_creation=True)


def serve(app: Any) -> WSGIServer:
    """A server of `app` on the loopback address: on PORT, or any free one where that is taken."""
    for port in (PORT, 0):
        with contextlib.suppress(OSError):
            return make_server(HOST, port, app, server_class=Server, handler_class=Quiet)
    raise FairsweepError(f"no port of {HOST} can be listened on.")


@command(folder=False)
def main(config: Config) -> None:
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise FairsweepError(
            "dashboard: needs the package optuna-dashboard, which is not installed. Install it: pip install optuna-dashboard (it is in "
            "the extra `dashboards`)."
        ) from error
    import optuna

    from pipeline.search.survey import Survey

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    copies = Copies(config, Survey(config, study_root(config.name)))
    if not copies.follow():
        raise FairsweepError(
            f"study {config.name} has no search to show yet, here or in build/{config.name}. Start one: make run STUDY={config.name}"
        )
    ended = threading.Event()

    def keep_following() -> None:
        while not ended.wait(FOLLOW_SECONDS):
            copies.follow()

    server = serve(wsgi(copies.storage))
    threading.Thread(target=keep_following, daemon=True).start()
    print(f"Optuna Dashboard of {config.name}: http://{HOST}:{server.server_port}/dashboard (Ctrl-C ends it)", flush=True)
    with contextlib.suppress(KeyboardInterrupt), server:
        server.serve_forever()
    ended.set()


if __name__ == "__main__":
    main()
