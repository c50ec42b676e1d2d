"""Members trained a second in one program, against one by one on the same device: three cells, two lengths, families of 1 to 256.

python benchmarks/gpu.py                   on a machine with a GPU; needs numpy, pandas, JAX, Keras, OmegaConf and pooch, no data
python benchmarks/gpu.py FILE --minutes 9  the same in pieces: what FILE has is not measured again, and it is written after each line
python benchmarks/gpu.py --short           a minute on any device that shows that everything runs

A line is a (cell, length): the seconds of a batch, one by one and as a family of each size; what share of the time the GPU was busy; and
the floor, the time that the products and the bytes of the weights alone would take at the rates this device reaches in large ones.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from project import CELLS

from pipeline.config.schema import Cell, Config, Model, Task, Train
from pipeline.data.spec import TaskSpec
from pipeline.training import backend

BATCH, UNITS, EMBEDDING, VOCABULARY = 128, 32, 32, 10_000
LENGTHS, MEMBERS, BATCHES = (100, 400), (1, 4, 16, 64, 256), 10
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
# Each weight is read and written by the step, and so are Adam's two means; its gradient is written and read.
WEIGHT_PASSES = 8
# Batches of a whole training: eight epochs of 20,000 reviews.
TRAINING = 8 * (20_000 // BATCH)


def config(cell: str, length: int, seed: int) -> Config:
    """The article's network with dropout, on invented tokens."""
    return Config(
        name="gpu",
        cells=[cell],
        task=Task(name="gpu", source="synthetic", length=length, vocabulary=VOCABULARY),
        cell=Cell(cell, cell),
        model=Model(units=UNITS, embedding=EMBEDDING, dropout=0.2),
        train=Train(backend="jax", engine="population", batch_size=BATCH),
        seed=seed,
    )


def timed(work: Callable[[], Any], rounds: int = 3) -> float:
    """The median seconds of `work`, which waits for the device; the first time compiles and is left out."""
    work()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


@contextmanager
def watched() -> Iterator[dict[str, list[float]]]:
    """The driver's utilisation (per cent), power (W) and memory (MiB) twice a second; empty where there is no driver to ask."""
    seen: dict[str, list[float]] = {"busy_percent": [], "watts": [], "mib": []}
    over = threading.Event()

    def look() -> None:
        query = [
            "nvidia-smi",
            "--query-gpu=utilization.gpu,power.draw,memory.used",
            "--format=csv,noheader,nounits",
        ]
        while not over.is_set():
            try:
                told = (
                    subprocess.run(query, capture_output=True, text=True, check=True)
                    .stdout.splitlines()[0]
                    .split(",")
                )
            except (OSError, subprocess.CalledProcessError):
                return
            for values, value in zip(seen.values(), told, strict=True):
                values.append(float(value))
            over.wait(0.5)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def rates() -> dict[str, float]:
    """What this device reaches: FLOP a second in a large float32 product (at JAX's own precision), bytes a second in a copy."""
    import jax
    import jax.numpy as jnp

    size = 8192 if jax.default_backend() == "gpu" else 1024
    square, long = jnp.ones((size, size)), jnp.ones(4 * size * size)
    product, copy = jax.jit(lambda one: one @ one), jax.jit(lambda one: one + 1)
    return {
        "flops": 2 * size**3 / timed(lambda: product(square).block_until_ready()),
        "bytes": 2 * long.nbytes / timed(lambda: copy(long).block_until_ready()),
    }


def floor(cell: str, length: int, reached: dict[str, float]) -> float:
    """Seconds of a batch of one member: its matrix products, forward and twice backward, and the bytes of its weights."""
    gates = GATES[cell] * UNITS
    products = 3 * 2 * BATCH * length * gates * (EMBEDDING + UNITS)
    weights = 4 * (VOCABULARY * EMBEDDING + gates * (EMBEDDING + UNITS + 2) + UNITS + 1)
    return products / reached["flops"] + WEIGHT_PASSES * weights / reached["bytes"]


def measured(cell: str, length: int, members: int | None, batches: int) -> dict[str, float]:
    """Seconds a batch and the device's load of a family of `members`, or of Keras's own training of one for None."""
    import jax

    from pipeline.training.fit import compiled
    from pipeline.training.loops import Scanned
    from pipeline.training.population import Stacked

    generator = np.random.default_rng(0)
    inputs = jax.device_put(
        generator.integers(1, VOCABULARY, (BATCH * batches, length)).astype(np.int32)
    )
    labels = jax.device_put(generator.integers(0, 2, BATCH * batches).astype(np.uint8))
    rows = np.arange(BATCH * batches).reshape(batches, BATCH)
    spec = TaskSpec(length=length)
    net: Any
    if members is None:
        net = Scanned(compiled(config(cell, length, 0), spec))
        given = rows
    else:
        net = Stacked([config(cell, length, seed) for seed in range(members)], spec)
        given = np.stack([rows] * members)

    # What it tells waits for the device.
    with watched() as seen:
        seconds = timed(lambda: net.run(inputs, labels, given)) / batches
    load = {
        name: round(median(values[len(values) // 2 :]), 1)
        for name, values in seen.items()
        if values
    }
    return {"seconds": seconds, **load}


def line(
    cell: str, length: int, counts: tuple[int, ...], batches: int, reached: dict[str, float]
) -> dict[str, Any]:
    """One (cell, length)."""
    alone = measured(cell, length, None, batches)
    found: dict[str, Any] = {"one_by_one": alone, "families": {}}
    for members in counts:
        try:
            family = measured(cell, length, members, batches)
        except Exception as error:
            found["families"][members] = {"failed": str(error)[:200]}
            continue
        family["trainings_a_second"] = round(members / family["seconds"] / TRAINING, 3)
        family["times_one_by_one"] = round(members * alone["seconds"] / family["seconds"], 2)
        family["floor_share"] = round(members * floor(cell, length, reached) / family["seconds"], 4)
        found["families"][members] = family
        print(f"{cell}, {length} steps, {members} members: {family}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    words = sys.argv[1:]
    minutes = float(words[words.index("--minutes") + 1]) if "--minutes" in words else None
    out = Path(words[0]) if words and not words[0].startswith("--") else None
    short = "--short" in words
    cells, lengths, counts = (CELLS[:1], (20,), (1, 2)) if short else (CELLS, LENGTHS, MEMBERS)
    backend.use("jax")
    import jax
    import keras

    started, longest = time.perf_counter(), 0.0
    found: dict[str, Any] = json.loads(out.read_text()) if out and out.exists() else {}
    device = jax.devices()[0].device_kind
    if found.get("device", device) != device:
        sys.exit(
            f"{out} was measured on {found['device']}, and this is {device}. Name another file."
        )
    found |= {"device": device, "jax": jax.__version__, "keras": keras.__version__}
    found.setdefault("rates", rates())
    lines = found.setdefault("lines", {})
    for name, cell, length in (
        (f"{cell} {length}", cell, length) for length in lengths for cell in cells
    ):
        if name in lines:
            continue
        if minutes and time.perf_counter() - started + longest > 60 * minutes:
            print("time is up; the same command measures the rest", file=sys.stderr)
            break
        begun = time.perf_counter()
        lines[name] = line(cell, length, counts, 2 if short else BATCHES, found["rates"])
        longest = max(longest, time.perf_counter() - begun)
        if out:
            out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
