"""The exception that commands print without a traceback, and messages for errors of libraries."""

import difflib
import errno
import os
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

# MLflow's default store, used without MLFLOW_TRACKING_URI.
TRACKED = "mlflow.db"
AGAIN = "Finished runs are kept: run the same command again to continue."
NO_SPACE = f"Free some disk space (df -h; ulimit -f limits the size of a file). {AGAIN}"
NOT_ALLOWED = "Make it readable and writable for this user (ls -l shows its owner)."
WRONG_KIND = "A file is in the place of a folder, or a folder in that of a file. Move it away."
NO_ANSWER = f"Nothing answers there. Start the server, or correct the address. {AGAIN}"
# {number of an error of the system: what to do}.
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None), NO_SPACE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), NOT_ALLOWED),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), WRONG_KIND),
    **dict.fromkeys(
        (errno.EADDRINUSE, errno.EADDRNOTAVAIL), "Stop what uses the port, or choose another port."
    ),
    **dict.fromkeys((errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT), NO_ANSWER),
    **dict.fromkeys((errno.EHOSTUNREACH, errno.ENETUNREACH), NO_ANSWER),
    errno.ENOENT: "Create it with the stage that writes it, or with dvc repro.",
    errno.EMFILE: f"Raise the limit (ulimit -n 4096), or lower cluster.workers. {AGAIN}",
    errno.EAGAIN: f"Raise the limit (ulimit -u), or lower cluster.workers. {AGAIN}",
    errno.EPIPE: f"The reader of the output has ended. Write it to a file. {AGAIN}",
}


class FairsweepError(Exception):
    """An error that the user can correct: the text names its cause and what to do."""


def masked(text: str) -> str:
    """`text` with `***` for the password of every URL in it."""
    return re.sub(r"(\w://[^\s:/@]*):[^\s@/]+@", r"\1:***@", text)


def as_called(text: str) -> str:
    """`text` with its commands as `fairsweep NAME` if the package is installed under this name."""
    if __package__ == "pipeline":
        return text
    return re.sub(r"python -m pipeline\.(?=\w)", "fairsweep ", text)


def nearest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """`; the nearest is 'gru'` for a misspelt word; empty below a similarity of `cutoff`."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)
    return f"; the nearest is {near[0]!r}" if near else ""


def as_fault(error: BaseException) -> FairsweepError | None:
    """`error` as a FairsweepError, caused by it; None for an error of the program itself."""
    if isinstance(error, FairsweepError):
        return error
    classes = {base.__name__ for base in type(error).__mro__}
    describe = next((DESCRIBE[name] for name in DESCRIBE if name in classes), None)
    library = type(error).__module__.partition(".")[0]
    if describe is None:
        describe = {"mlflow": of_mlflow}.get(library)
    if describe is None and library in ("optuna", "sqlalchemy", "sqlite3"):
        describe = _of_database
    text = describe(error) if describe else None
    if text is None:
        return None
    fault = FairsweepError(text)
    fault.__cause__ = error
    return fault


def _reason(error: BaseException) -> str:
    """The first line of the message, or the text of an error of a connection or database in it."""
    text = str(error)
    inner = re.search(r"\[Errno -?\d+\] ([^\"')\n]+)|\([\w.]+Error\) ([^\n]+)", text)
    if inner:
        return inner[1] or inner[2]
    return (text.strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _of_system(error: Any) -> str | None:
    # An error without number and file is of a library.
    if error.errno is None and error.filename is None:
        return None
    incomplete = f"it could not be written completely ({error.args[0] if error.args else ''})"
    reason = os.strerror(error.errno) if error.errno else incomplete
    place = error.filename or f"a file or connection of this command, in {Path.cwd()}"
    return f"{place}: {reason}. {REMEDIES.get(error.errno, AGAIN)}"


def _of_yaml(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    place = getattr(error, "name", "a file of conf/")
    if mark:
        place = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}"
    problem = getattr(error, "problem", None) or _reason(error)
    reason = " ".join(filter(None, (problem, getattr(error, "note", None))))
    return (
        f"{place}: not valid YAML ({reason}). Correct the line: KEY: VALUE, indented by spaces, "
        "with closed brackets and quotes."
    )


def _of_encoding(error: Any) -> str | None:
    for path in sorted(Path("conf").rglob("*.yaml")):
        try:
            path.read_text("utf-8")
        except UnicodeDecodeError:
            where = f"{error.reason} at byte {error.start}"
            return f"{path}: not UTF-8 ({where}). Save the file in this encoding."
    return None


def _of_composition(error: BaseException) -> str:
    """A name in a defaults list, or a reference, that Hydra or OmegaConf cannot resolve."""
    missing, options = getattr(error, "missing_cfg_file", None), getattr(error, "options", None)
    if missing:
        group, _, name = str(missing).rpartition("/")
        return (
            f"{group}={name}: no such {group}. Correct the defaults list or the override that "
            f"names it, or write conf/{missing}.yaml."
            + (f" There are: {', '.join(options)}." if options else "")
        )
    key = getattr(error, "full_key", None) or "conf/"
    return f"{key}: {_reason(error)}. Correct it in conf/; `--cfg job` prints every key."


def _of_imports(error: Any) -> str | None:
    package = (error.name or "").partition(".")[0]
    if package == __package__:
        return None
    return (
        f"{package or 'a package'}: cannot be imported ({_reason(error)}). Install it: make run "
        f"does so in .venv; or pip install {package or 'fairsweep'}"
    )


def _of_memory(error: BaseException) -> str:
    return f"not enough memory ({_reason(error)}). Lower cluster.workers or task.length. {AGAIN}"


def of_mlflow(error: BaseException) -> str:
    """The message for an error of MLflow's store."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    store = f"MLFLOW_TRACKING_URI={uri}" if uri else TRACKED
    away = "unset it" if uri else f"move it away, mv {TRACKED} {TRACKED}.old"
    if _disk_full(error):
        return f"{store}: no space left for MLflow's store. {NO_SPACE}"
    if schema := re.search(r"database schema \((.+?)\)", str(error)):
        return (
            f"{store}: MLflow's store is from another MLflow than the installed "
            f"{version('mlflow')} ({schema[1]}). If from a newer one: pip install -U mlflow. If from "
            f"an older one: mlflow db upgrade URI. Or {away}: no result is read from it. {AGAIN}"
        )
    return (
        f"{store}: MLflow's store cannot be used ({_reason(error)}). Start or repair it, or "
        f"{away}: no result is read from it. {AGAIN}"
    )


def _of_database(error: BaseException) -> str:
    store = "the database of the search (search.storage, or study.db in .fairsweep/state)"
    if _disk_full(error):
        return f"{store}: no space left. {NO_SPACE}"
    return f"{store} cannot be used ({_reason(error)}). Start or repair it. {AGAIN}"


def _disk_full(error: BaseException | None) -> bool:
    """Whether `error` or one of its causes reports a full disk; databases have no error numbers."""
    if error is None:
        return False
    full = "disk is full" in str(error) or "No space left" in str(error)
    return full or _disk_full(error.__cause__ or error.__context__)


# {name of a class or base class: its message}: so none needs an import. Hydra's error of a missing
# file is an OSError, too, and comes first.
DESCRIBE = {
    "YAMLError": _of_yaml,
    "UnicodeDecodeError": _of_encoding,
    "HydraException": _of_composition,
    "OmegaConfBaseException": _of_composition,
    "OSError": _of_system,
    "ImportError": _of_imports,
    "MemoryError": _of_memory,
}
