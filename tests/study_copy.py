"""A copy of the project in a folder of its own, in which a test runs real studies with `dvc repro`."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class StudyCopy:
    """conf/, pipeline/, dvc.yaml and the probe of this checkout under `root`, set to the study `study`, under DVC or not."""

    def __init__(self, root: Path, study: str, dvc: bool = True) -> None:
        self.root, self.study = root, study
        for folder in ("conf", "pipeline"):
            shutil.copytree(
                ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__")
            )
        shutil.copytree(ROOT / "results" / "probe", root / "results" / "probe")
        stages = (ROOT / "dvc.yaml").read_text()
        assert stages.count("conf/study/imdb.yaml") == 1
        (root / "dvc.yaml").write_text(
            stages.replace("conf/study/imdb.yaml", f"conf/study/{study}.yaml")
        )
        if dvc:
            self.run("dvc", "init", "-q", "--no-scm")

    @classmethod
    def existing(cls, root: Path, study: str) -> "StudyCopy":
        """The copy that another process made under `root`."""
        copy = cls.__new__(cls)
        copy.root, copy.study = root, study
        return copy

    @property
    def log(self) -> Path:
        """Where the commands note each file that they open."""
        return self.root.with_suffix(".opened")

    @property
    def env(self) -> dict[str, str]:
        """The environment of every command: this interpreter first on the path, each opened file noted in `log`."""
        unset = ("IMDB_ARCHIVE", "MLFLOW_TRACKING_URI", "HYDRA_FULL_ERROR")
        return {
            **{key: value for key, value in os.environ.items() if key not in unset},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "tests" / "audit"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FAIRSWEEP_AUDIT": str(self.log),
            "FAIRSWEEP_AUDIT_ROOT": str(self.root),
            "DVC_NO_ANALYTICS": "1",
        }

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in the copy, its output kept."""
        done = subprocess.run(words, cwd=self.root, env=self.env, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def repro(self, *targets: str) -> str:
        """`dvc repro`, which must succeed; what it printed."""
        done = self.run("dvc", "repro", *targets)
        return done.stdout + done.stderr

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command in the copy, in a process group of its own, left running."""
        with self.root.with_suffix(".output").open("a") as output:
            kept = {"stdout": output, "stderr": output, "text": True}

            def listen() -> None:
                # A shell starts what it puts in the background deaf to Ctrl-C, and so would its children be.
                signal.signal(signal.SIGINT, signal.SIG_DFL)

            return subprocess.Popen(
                words,
                cwd=self.root,
                env=self.env,
                start_new_session=True,
                preexec_fn=listen,
                **kept,
            )

    def take(self, other: "StudyCopy", *parts: str) -> "StudyCopy":
        """Copy files and folders of another copy that has them."""
        for part in parts:
            if (other.root / part).is_dir():
                shutil.copytree(other.root / part, self.root / part, dirs_exist_ok=True)
            elif (other.root / part).exists():
                shutil.copy(other.root / part, self.root / part)
        return self

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace the one occurrence of `old` in a file of the copy."""
        text = (self.root / path).read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        (self.root / path).write_text(text.replace(old, new))

    def opened(self) -> set[tuple[str, str, str]]:
        """(stage, r or w, path below the copy) of each file that a stage opened."""
        return {
            (stage, mode, path)
            for stage, mode, path in (
                line.split("\t") for line in self.log.read_text().splitlines()
            )
        }

    def called(self) -> list[str]:
        """`event, host, command` of each host beyond this machine that a command looked up or called."""
        log = self.log.with_name(self.log.name + ".called")
        return log.read_text().splitlines()


def files(folder: Path, *spared: str) -> dict[str, bytes]:
    """{path below `folder`: content} of every file there but those whose name is in `spared`."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in spared
    }
