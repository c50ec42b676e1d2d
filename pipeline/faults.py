"""What the system and the libraries raise, turned into our own error at the door: the thing, what was expected, what to do."""

import errno
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import FairsweepError

# Where MLflow keeps its runs unless MLFLOW_TRACKING_URI says otherwise: its own default.
TRACKED = "mlflow.db"
AGAIN = "What had finished is kept: the same command, given again, does the rest."
_FULL = f"Expected room for it: free some (df -h shows it, and ulimit -f what a file may have). {AGAIN}"
_CLOSED = (
    "Expected a place that this user can read and write (ls -ld shows whose it is): change that, or work in a folder of your own."
)
_IN_THE_WAY = "Expected a folder where there is a file, or a file where there is a folder: move it out of the way."
_ADDRESS = "Expected a port of this machine that is free: end what listens there, or choose another port."
_NOBODY = f"Expected something that listens there: start it, or correct the address. {AGAIN}"
# What happened, as the system numbers it, and what to do.
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _CLOSED),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), _IN_THE_WAY),
    **dict.fromkeys((errno.EADDRINUSE, errno.EADDRNOTAVAIL), _ADDRESS),
    **dict.fromkeys((errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT), _NOBODY),
    errno.ENOENT: "Expected it there: make it again with the stage that writes it, or with dvc repro.",
    errno.EMFILE: f"Expected fewer files open at once: raise the limit (ulimit -n 4096), or lower cluster.workers. {AGAIN}",
    errno.EAGAIN: f"Expected room for another process: raise the limit (ulimit -u), or lower cluster.workers. {AGAIN}",
    errno.EIO: f"Expected a disk that can be read and written: see what is wrong with it. {AGAIN}",
    errno.EPIPE: f"Expected somebody who reads what this command prints: write it to a file. {AGAIN}",
}


def as_fault(error: BaseException) -> FairsweepError | None:
    """`error` as a FairsweepError, caused by it; None for one that is the program's own fault, of which the traceback is to be seen."""
    if isinstance(error, FairsweepError):
        return error
    names = {one.__name__ for one in type(error).__mro__}
    tell = next(
        (tell for kind, tell in _KINDS.items() if kind in names), _LIBRARIES.get(type(error).__module__.partition(".")[0])
    )
    text = tell(error) if tell else None
    if text is None:
        return None
    fault = FairsweepError(text)
    fault.__cause__ = error
    return fault


def _first(error: BaseException) -> str:
    """The first line of what `error` says; of a connection or a database, around whose words libraries put theirs, those words."""
    found = re.search(r"\[Errno -?\d+\] ([^\"')\n]+)|\([\w.]+Error\) ([^\n]+)", str(error))
    return found[1] or found[2] if found else (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _of_the_system(error: Any) -> str | None:
    # A file of a write is named by `files`; what has neither a number nor a file is a library's own matter.
    if error.errno is None and error.filename is None:
        return None
    what = os.strerror(error.errno) if error.errno else f"it could not be written whole ({error.args[0]})"
    thing = error.filename if error.filename is not None else f"a file or connection of this command, in {Path.cwd()}"
    return f"{thing}: {what}. {_REMEDIES.get(error.errno, AGAIN)}"


def _of_yaml(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else getattr(error, "name", "a file of conf/")
    what = " ".join(filter(None, (getattr(error, "problem", None) or _first(error), getattr(error, "note", None))))
    return f"{where}: this is no YAML ({what}). Expected KEY: VALUE, indented by spaces, brackets and quotes closed. Correct the line."


def _of_encoding(error: Any) -> str | None:
    for path in sorted(Path("conf").rglob("*.yaml")):
        try:
            path.read_text("utf-8")
        except UnicodeDecodeError:
            return f"{path}: this is not UTF-8 ({error.reason} at byte {error.start}). Expected text in UTF-8: save the file as such."
    return None


def _of_composition(error: BaseException) -> str:
    """What Hydra or OmegaConf could not compose: a name in a defaults list, or a value that refers to nothing."""
    missing, options = getattr(error, "missing_cfg_file", None), getattr(error, "options", None)
    if missing:
        group, _, name = str(missing).rpartition("/")
        there = f" There are: {', '.join(options)}." if options else ""
        return f"{group}={name}: no such {group}. Expected conf/{missing}.yaml: a defaults list there, or an override, names it.{there}"
    key = getattr(error, "full_key", None)
    return (
        f"{key or 'conf/'}: {_first(error)}. Expected a value of the schema: --cfg job prints all of them. Correct it in conf/."
    )


def _of_imports(error: Any) -> str | None:
    package = (error.name or "").partition(".")[0]
    if package == "pipeline":
        return None
    return (
        f"{package or 'a package'}: cannot be imported ({_first(error)}). Expected it to be installed beside Fairsweep: make run does so "
        f"in .venv, or: pip install {package or 'fairsweep'}"
    )


def _of_memory(error: BaseException) -> str:
    return (
        f"memory: too little of it ({_first(error)}). Expected room for the data: lower cluster.workers or task.length. {AGAIN}"
    )


def of_mlflow(error: BaseException) -> str:
    """What is told of an error of MLflow's store."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    store, away = (f"MLFLOW_TRACKING_URI={uri}", "unset it") if uri else (TRACKED, f"move it away, mv {TRACKED} {TRACKED}.old")
    if _full(error):
        return f"{store}: MLflow's store has no room left. {_FULL}"
    if found := re.search(r"database schema \((.+?)\)", str(error)):
        return (
            f"{store}: MLflow's store is of another MLflow than the {version('mlflow')} that is installed ({found[1]}). Of a newer one: "
            f"pip install -U mlflow. Of an older one: mlflow db upgrade URI. Or {away}: no result is read from it. {AGAIN}"
        )
    return (
        f"{store}: MLflow's store cannot be used ({_first(error)}). Expected one that answers and can be written. Start or mend it, or "
        f"{away}: no result is read from it. {AGAIN}"
    )


def _of_a_database(error: BaseException) -> str:
    store = "the database of the search (search.storage, or study.db in .fairsweep/state)"
    if _full(error):
        return f"{store} has no room left. {_FULL}"
    return f"{store} cannot be used ({_first(error)}). Expected one that can be written: start or mend it. {AGAIN}"


def _full(error: BaseException) -> bool:
    """Whether a database, which does not number its errors, says that the disk is full; or what it was caused by."""
    chain = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    return any("disk is full" in str(one) or "No space left" in str(one) for one in chain)


# By the names of their classes or a class above, and by their library: none is imported to be recognised.
_KINDS = {
    "YAMLError": _of_yaml,
    "UnicodeDecodeError": _of_encoding,
    # Before OSError: Hydra's error of a missing file is one.
    "HydraException": _of_composition,
    "OmegaConfBaseException": _of_composition,
    "OSError": _of_the_system,
    "ImportError": _of_imports,
    "MemoryError": _of_memory,
}
_LIBRARIES = {"mlflow": of_mlflow, **dict.fromkeys(("optuna", "sqlalchemy", "sqlite3"), _of_a_database)}
