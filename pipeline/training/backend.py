"""Choosing the Keras backend of this process: once, before Keras is imported."""

import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import FairsweepError

# One thread a process: two such processes side by side finish 1.9 times the trainings of one process with two threads.
THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


def use(backend: str) -> None:
    """Make `backend` (`tensorflow` or `jax`) this process's Keras backend, single-threaded.

    Raises FairsweepError when Keras already runs on another one, or when the backend is not installed.
    """
    if "keras" in sys.modules:
        import keras

        if keras.backend.backend() != backend:
            raise FairsweepError(
                f"train.backend={backend}: this process already trains on {keras.backend.backend()}, and Keras holds one "
                "backend a process. Start one command a backend, or add hydra/launcher=joblib to the multirun."
            )
        return
    os.environ.update(THREADS)
    os.environ["KERAS_BACKEND"] = backend
    if backend == "jax":
        _keep_programs()
    try:
        with quiet():
            import keras

            if backend == "tensorflow":
                _single_thread()
    except ImportError as error:
        raise FairsweepError(
            f"train.backend={backend}: {error}. Install it (pip install {backend}) or choose train.backend=tensorflow."
        ) from error
    keras.config.disable_traceback_filtering()


def _keep_programs() -> None:
    """XLA's programs are kept below `.fairsweep/compiled/`, by kind of processor: the next process need not compile them again."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]
    kind = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}) or lines[:1]
    folder = Path(".fairsweep/compiled", hashlib.sha256("\n".join(kind).encode()).hexdigest()[:12])
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder.absolute()))
    # Small ones too: building a model compiles dozens.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def _single_thread() -> None:
    """TensorFlow's own pools at one thread each. No enable_op_determinism: Keras then drops XLA, and one thread of XLA is
    deterministic already (tests/training).
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.list_logical_devices()
    # It warns that prediction is compiled again and again; each run is a model of its own, and short ones follow fast.
    tf.get_logger().setLevel("ERROR")


@contextmanager
def quiet() -> Iterator[None]:
    """TensorFlow writes about absent GPUs straight to file descriptor 2, whatever its log level; errors still raise."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
