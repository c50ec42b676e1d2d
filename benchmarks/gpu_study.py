"""A study on a GPU that is at hand for minutes at a time: what is missing goes there, finished runs come back, the stages here find them.

python benchmarks/gpu_study.py next [STUDY] [--from FOLDER]
    Here. Takes what FOLDER holds, does the stages whose runs are all there, and writes build/gpu/ for the next call; the report when
    nothing is missing.
python benchmarks/gpu_study.py train build/gpu OUT
    There, with numpy, pandas, JAX, Keras, OmegaConf and pooch. Nine minutes at most, at most eight files of 15 MB in OUT.

A call trains the trials of two cells, and all replicates whose trials are there. Runs travel as the state's own files, in tars; of the
replicates' models only the best comes back, which is all that a champion is chosen from. The code must be the same on both sides. Keras and
JAX need not be, but the same in every call: the state holds the versions that trained.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PARCEL, TRAINED_ON = Path("build/gpu"), Path(".fairsweep/gpu_study.json")
MINUTES, TUNED, FILES, BYTES = 9.0, 2, 8, 15_000_000
# Packing takes some of the nine minutes; a family that might not end before is left to the next call.
RESERVE_SECONDS = 40.0


def stage(name: str, *overrides: str) -> None:
    """Run a stage in the current folder."""
    print(f"{name} {' '.join(overrides)}", flush=True)
    if subprocess.run([sys.executable, "-m", f"pipeline.{name}", *overrides]).returncode:
        sys.exit(f"pipeline.{name} failed")


def runs_of(study: str, cell: str, which: str) -> tuple[Path, list[Any]]:
    """The state's folder and all jobs of a cell's `tune` or `replicate`."""
    from pipeline import replicate, tune
    from pipeline.config.compose import compose
    from pipeline.search.run_store import place, search_settings, settings
    from pipeline.training.worker import load_data

    config = compose([f"study={study}", f"cell={cell}"])
    data = load_data(config)
    if which == "tune":
        jobs, document = (
            tune.jobs(config, tune.read_table(config), []),
            search_settings(config, data.digest),
        )
    else:
        recipes = {
            recipe: compose([f"study={study}", f"cell={cell}", f"recipe={recipe}"])
            for recipe in config.recipes
        }
        jobs, document = (
            replicate.jobs(config, recipes, []),
            settings(config, "replicate", data.digest),
        )
    return place(document), jobs


def missing(study: str, cell: str) -> tuple[str, list[Any]] | None:
    """(stage, jobs without a finished run) where `cell` waits for runs; what does not is done. None at its end."""
    for which in ("tune", "replicate"):
        folder, jobs = runs_of(study, cell, which)
        left = [job for job in jobs if not (folder / f"{job.key}.npz").exists()]
        if left:
            return which, left
        if not Path("runs", study, which, cell).exists():
            stage(which, f"study={study}", f"cell={cell}")
    return None


def take(study: str, folder: Path) -> None:
    """Put the finished runs in `folder` where the state has its own, once all of it was found in order."""
    from pipeline.search.run_store import code_digest

    told = json.loads((folder / "software.json").read_text())
    if told.pop("code") != code_digest("lstm"):  # all cells of Keras have the same code
        sys.exit(f"{folder} was trained by other code than this checkout has.")
    if TRAINED_ON.exists() and json.loads(TRAINED_ON.read_text()) != told:
        sys.exit(
            f"{folder} was trained with {told}, the runs before it with {TRAINED_ON.read_text()}; delete that file to begin anew."
        )
    TRAINED_ON.parent.mkdir(exist_ok=True)
    TRAINED_ON.write_text(json.dumps(told))
    elsewhere()
    asked = json.loads((PARCEL / "jobs.json").read_text())["jobs"]
    folders = {
        (job["stage"], job["cell"]): runs_of(study, job["cell"], job["stage"])[0] for job in asked
    }
    known = {
        place(job["stage"], job["cell"], job["key"]): folders[job["stage"], job["cell"]]
        for job in asked
    }
    came: dict[Path, bytes] = {}
    for path in sorted(folder.glob("runs-*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if member.name not in known or content is None:
                    sys.exit(f"{path} holds {member.name}, which build/gpu did not ask for.")
                came[known[member.name] / Path(member.name).name] = content.read()
    for target, read in came.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read)
    print(f"{len(came)} runs taken from {folder}")


def elsewhere() -> None:
    """The state is that of the libraries which trained the runs that came, once some have."""
    if TRAINED_ON.exists():
        told = json.loads(TRAINED_ON.read_text())
        os.environ["FAIRSWEEP_TRAINED_ON"] = " ".join(
            f"{name}=={number}" for name, number in told.items()
        )


def place(stage: str, cell: str, key: str) -> str:
    """The name of a finished run in a tar."""
    return f"{stage}/{cell}/{key}.npz"


def ask(study: str, waiting: dict[str, tuple[str, list[Any]]]) -> None:
    """Write build/gpu/: replicates and the first cells' trials in `waiting`, and the arrays without what can be cut from them."""
    replicates = [one for one in waiting.items() if one[1][0] == "replicate"]
    tuned = [one for one in waiting.items() if one[1][0] == "tune"]
    chosen = [
        {
            "stage": which,
            "cell": cell,
            "key": job.key,
            "kind": job.kind,
            "number": job.number,
            "keep_model": job.keep_model,
        }
        | {"config": dataclasses.asdict(job.config)}
        for cell, (which, jobs) in [*replicates, *tuned[:TUNED]]
        for job in jobs
    ]
    shutil.rmtree(PARCEL, ignore_errors=True)
    PARCEL.mkdir(parents=True)
    (PARCEL / "jobs.json").write_text(json.dumps({"study": study, "jobs": chosen}))
    arrays = Path("data", study, "arrays")
    with (
        tempfile.TemporaryDirectory() as folder,
        tarfile.open(PARCEL / "arrays.tar.xz", "w:xz") as archive,
    ):
        meta = json.loads((arrays / "meta.json").read_text())
        # Texts are cut from their ids where they were not cut to this length before.
        kept = [path for path in sorted(arrays.iterdir()) if not path.name.endswith("_tokens.npy")]
        Path(folder, "meta.json").write_text(
            json.dumps({**meta, "length": 0} if len(kept) < len(list(arrays.iterdir())) else meta)
        )
        for path in kept:
            archive.add(Path(folder, "meta.json") if path.name == "meta.json" else path, path.name)


def advance(study: str, came: Path | None) -> None:
    """Do all that can be done here, then say what is to be done there."""
    from pipeline.config.compose import compose

    elsewhere()
    if came:
        take(study, came)
    for name, made in (
        ("download", f"data/{study}/archive"),
        ("pad", f"data/{study}/arrays"),
        ("sample", f"runs/{study}/sample"),
    ):
        if not Path(made).exists():
            stage(name, f"study={study}")
    waiting = {
        cell: left for cell in compose([f"study={study}"]).cells if (left := missing(study, cell))
    }
    if not waiting:
        for name in ("baseline", "evaluate", "report"):
            stage(name, f"study={study}")
        return
    ask(study, waiting)
    for cell, (which, jobs) in waiting.items():
        print(f"{which} {cell}: {len(jobs)} runs are missing")
    print(
        f"Next, with this checkout and {PARCEL}/ on the machine with the GPU:\n"
        f"  python benchmarks/gpu_study.py train {PARCEL} OUT\n"
        f"then here, with what came in OUT:\n"
        f"  make gpu-study FROM=OUT"
    )


def train(parcel: Path, out: Path) -> None:
    """Train what the parcel asks for, a family after another, until all is done or the time is up, and pack it."""
    from omegaconf import OmegaConf

    from pipeline.config.compose import to_object
    from pipeline.config.schema import Config
    from pipeline.search.run_store import Job, Record, code_digest, now
    from pipeline.training.population import MAX_MODELS, batch_key
    from pipeline.training.worker import train_batch

    started, longest = time.monotonic(), 0.0
    document = json.loads((parcel / "jobs.json").read_text())
    out.mkdir(parents=True, exist_ok=True)
    told = {"code": code_digest("lstm"), **{name: version(name) for name in ("keras", "jax")}}
    (out / "software.json").write_text(json.dumps(told))
    families: dict[Any, list[tuple[str, Job]]] = {}
    for one in document["jobs"]:
        config = to_object(OmegaConf.create(one["config"]), Config)
        job = Job(one["kind"], one["number"], config, [], one["keep_model"])
        where = f"{one['stage']}/{one['cell']}"
        families.setdefault((where, batch_key(config) or one["key"]), []).append((where, job))
    parts = [
        members[begin : begin + MAX_MODELS]
        for members in families.values()
        for begin in range(0, len(members), MAX_MODELS)
    ]
    done: list[tuple[str, Record]] = []
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder, document["study"], "arrays")
        with tarfile.open(parcel / "arrays.tar.xz") as archive:
            archive.extractall(arrays, filter="data")
        for number, part in enumerate(parts):
            begun, at = time.monotonic(), now()
            if begun - started + longest > 60 * MINUTES - RESERVE_SECONDS:
                print(
                    f"time is up; {len(parts) - number} families are for the next call", flush=True
                )
                break
            runs = train_batch(
                [job.config for _, job in part], [job.keep_model for _, job in part], arrays
            )
            for (where, job), (run, shared) in zip(part, runs, strict=True):
                done.append(
                    (
                        where,
                        Record(job, run, 1, f"gpu shared by {shared}" if shared > 1 else "gpu", at),
                    )
                )
            seconds = time.monotonic() - begun
            longest = max(longest, seconds)
            print(
                f"{part[0][1].config.cell.arm}, {part[0][1].kind}: {len(part)} runs, {seconds:.0f} s",
                flush=True,
            )
    pack(done, out)


def pack(done: list[tuple[str, Any]], out: Path) -> None:
    """The finished runs as the state's files, in tars of at most 15 MB; a model only of the best of those that are to keep theirs."""
    from pipeline.search.run_store import State
    from pipeline.search.tables import best

    for folder in {folder for folder, _ in done}:
        records = [record for where, record in done if where == folder]
        winner = best([record for record in records if record.job.keep_model])
        for record in records:
            if record is not winner:
                record.run.model = None
    tars: list[list[tuple[Path, str]]] = [[]]
    size = 0
    with tempfile.TemporaryDirectory() as work:
        for folder, record in done:
            state = State(Path(work, folder))
            state.save(record)
            path = state.path(record.job)
            # A tar gives each file a header and whole blocks.
            needs = path.stat().st_size + 2048
            if size + needs > BYTES - 10240:
                tars.append([])
                size = 0
            tars[-1].append((path, f"{folder}/{path.name}"))
            size += needs
        # One file says what trained them.
        if len(tars) > FILES - 1:
            sys.exit(
                f"{len(tars)} files of {BYTES:,} bytes; {FILES - 1} may go back. Ask for fewer cells."
            )
        for number, files in enumerate(tars):
            with tarfile.open(out / f"runs-{number}.tar", "w") as archive:
                for path, name in files:
                    archive.add(path, name)


def main() -> None:
    verb, *words = sys.argv[1:] or ["help"]
    if verb == "train" and len(words) == 2:
        train(Path(words[0]).resolve(), Path(words[1]).resolve())
    elif verb == "next":
        came = Path(words[words.index("--from") + 1]) if "--from" in words else None
        advance(words[0] if words and not words[0].startswith("--") else "imdb_full", came)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
