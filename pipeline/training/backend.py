"""Choosing the Keras backend of this process: once, before Keras is imported."""

import functools
import hashlib
import os
import platform
import re
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

    Raises FairsweepError when Keras already runs on another one, when the backend is not installed, or has not the device that
    JAX_PLATFORMS asks for. A GPU of CUDA_VISIBLE_DEVICES that it has not is a warning: schedulers set that for everyone.
    """
    if "keras" in sys.modules:
        import keras

        if keras.backend.backend() != backend:
            raise FairsweepError(
                f"train.backend={backend}: this process already trains on {keras.backend.backend()}, and Keras holds one "
                "backend a process. Start one command a backend, or add hydra/launcher=joblib to the multirun."
            )
        _check_device(backend)
        return
    os.environ.update(THREADS)
    os.environ["KERAS_BACKEND"] = backend
    if backend == "jax":
        _keep_programs()
        # Else the first process takes three quarters of a GPU's memory, and the second fails.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        with quiet():
            import keras

            _single_thread() if backend == "tensorflow" else _leave_tensorflow_out()
    except ImportError as error:
        raise FairsweepError(
            f"train.backend={backend}: {error}. Install it (pip install {backend}) or choose train.backend=tensorflow."
        ) from error
    _check_device(backend)
    keras.config.disable_traceback_filtering()


@functools.cache
def _check_device(backend: str) -> None:
    """Once a process: each run would else fail for want of the device, or be trained on the processor while a GPU is expected."""
    platforms, visible = (os.environ.get(name, "") for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"))
    try:
        with quiet():
            found = _devices(backend)
    # Which error that is differs between versions of jax, and its text may be empty.
    except Exception as error:
        raise FairsweepError(
            f"JAX_PLATFORMS={platforms}: {backend} finds no such device here ({type(error).__name__}). Expected one, with its driver and "
            "jax's package for it (pip install 'jax[cuda12]'); or train on the processor: unset JAX_PLATFORMS."
        ) from error
    if found == {"cpu"} and re.match(r"\d|GPU-|MIG-", visible):
        print(
            f"warning: CUDA_VISIBLE_DEVICES={visible} names a GPU, and {backend} finds none: it trains on the processor. For a GPU "
            f"install {'jax[cuda12]' if backend == 'jax' else 'tensorflow[and-cuda]'}.",
            file=sys.stderr,
        )


def _devices(backend: str) -> set[str]:
    """The kinds of devices that the backend sees: `cpu`, `gpu` and others."""
    if backend == "jax":
        import jax

        return {device.platform for device in jax.devices()}
    import tensorflow as tf

    return {device.device_type.lower() for device in tf.config.list_physical_devices()}


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


def _leave_tensorflow_out() -> None:
    """Have Keras take TensorFlow as absent, for which it looks by importing it, three seconds and 300 MB, before it describes a layer.

    Others may import it as before.
    """
    import keras

    if "tensorflow" in sys.modules:
        return
    # So Python marks what cannot be imported.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        keras.saving.serialize_keras_object(keras.layers.Identity())
    finally:
        del sys.modules["tensorflow"]


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
