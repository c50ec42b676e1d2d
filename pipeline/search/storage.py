"""Where Optuna keeps the studies: a SQLite file beside the state, or the database of `search.storage`."""

import sqlite3
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

from optuna.storages import RDBStorage

from pipeline.config import Config
from pipeline.errors import FairsweepError, masked
from pipeline.files import reading
from pipeline.search.state import State


def storage(config: Config, state: State) -> RDBStorage:
    """The store of an arm's studies.

    The file waits for the disk at checkpoints alone: a report then costs 4 ms in place of 48. It stays whole when the machine fails,
    and what its last moments lose follows from the finished runs again.

    Raises FairsweepError for a database that cannot be opened.
    """
    url = config.search.storage
    if url:
        return opened(url)
    path = state.folder / "study.db"
    remedy = f"Remove it, and it is made again from the finished runs: rm {path}*"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=normal")
        return connection

    # A file that is not there yet is no fault.
    with reading(path, remedy) if path.exists() else nullcontext():
        return RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})


def study_name(config: Config, state: State, number: int | None = None) -> str:
    """The study's name in its store: one database may hold many, so a changed study has another name, by the state's digest."""
    parts = [config.name, config.cell.arm, *([] if number is None else [number])]
    return "-".join(map(str, [*parts, state.folder.name] if config.search.storage else parts))


def opened(url: str) -> RDBStorage:
    """The database at `url`; raises FairsweepError when it cannot be opened."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    shown = masked(url)
    try:
        return RDBStorage(url, engine_kwargs=_engine(url))
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise FairsweepError(
            f"search.storage={shown}: not a database that SQLAlchemy can open ({type(error).__name__}). Give a URL such as "
            "postgresql+psycopg://USER@HOST/DATABASE, and install its driver: pip install 'psycopg[binary]'"
        ) from error
    except RuntimeError as error:
        # What Optuna says of tables of another schema: older ones can be upgraded, newer ones need a newer Optuna.
        raise FairsweepError(
            f"search.storage={shown}: its tables are of another Optuna than the {version('optuna')} that is installed ({error}) Expected "
            "a database of this one: install the Optuna that made it (pip install -U optuna for a newer one), or give another database."
        ) from error
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise FairsweepError(
            f"search.storage={shown}: cannot be opened: {reason}. Start the database, or correct the URL."
        ) from error


def _engine(url: str) -> dict[str, Any]:
    """A connection that the database closed overnight is opened anew."""
    return {} if url.startswith("sqlite") else {"pool_pre_ping": True}
