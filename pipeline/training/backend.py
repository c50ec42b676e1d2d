"""Choose the Keras backend of this process, once, before Keras is imported."""

import functools
import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FairsweepError

# One thread per process: two processes finish 1.9 times the trainings of one with two threads.
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
    """Make `backend` (`tensorflow` or `jax`) the Keras backend of this process, with one thread.

    If the backend does not find the GPU in CUDA_VISIBLE_DEVICES, it prints a warning only, since
    schedulers set this variable for every process.

    Raises:
        FairsweepError: Keras already runs on another backend, the backend is not installed, or it
            does not find the device that JAX_PLATFORMS names.
    """
    if "keras" in sys.modules:
        import keras

        if keras.backend.backend() != backend:
            raise FairsweepError(
                f"train.backend={backend}: this process already trains on "
                f"{keras.backend.backend()}, and Keras has one "
                "backend per process. Start one command per backend, or add hydra/launcher=joblib "
                "to the multirun."
            )
        _check_device(backend)
        return
    os.environ.update(THREADS)
    os.environ["KERAS_BACKEND"] = backend
    if backend == "jax":
        _keep_programs()
        # By default the first process reserves 75 % of the memory of a GPU, and a second one fails.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        with quiet():
            import keras

            _single_thread() if backend == "tensorflow" else _leave_tensorflow_out()
    except ImportError as error:
        raise FairsweepError(
            f"train.backend={backend}: {error}. Install it (pip install {backend}) or choose "
            "train.backend=tensorflow."
        ) from error
    _check_device(backend)
    keras.config.disable_traceback_filtering()


@functools.cache
def _check_device(backend: str) -> None:
    """Check once per process that the expected device exists, instead of in each run."""
    platforms, visible = (
        os.environ.get(name, "") for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")
    )
    try:
        with quiet():
            devices = _devices(backend)
    # The type of error depends on the version of jax, and its text may be empty.
    except Exception as error:
        raise FairsweepError(
            f"JAX_PLATFORMS={platforms}: {backend} finds no such device here "
            f"({type(error).__name__}). Expected one, with its driver and "
            "jax's package for it (pip install 'jax[cuda12]'); or train on the processor: unset "
            "JAX_PLATFORMS."
        ) from error
    if devices == {"cpu"} and re.match(r"\d|GPU-|MIG-", visible):
        print(
            f"warning: CUDA_VISIBLE_DEVICES={visible} names a GPU, and {backend} finds none: it "
            "trains on the processor. For a GPU "
            f"install {'jax[cuda12]' if backend == 'jax' else 'tensorflow[and-cuda]'}.",
            file=sys.stderr,
        )


def _devices(backend: str) -> set[str]:
    """The kinds of devices that the backend finds: `cpu`, `gpu` and others."""
    if backend == "jax":
        import jax

        return {device.platform for device in jax.devices()}
    import tensorflow as tf

    return {device.device_type.lower() for device in tf.config.list_physical_devices()}


def _keep_programs() -> None:
    """Cache the programs of XLA in `.fairsweep/compiled/`, per kind of processor."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]
    kind = (
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
        or lines[:1]
    )
    folder = Path(".fairsweep/compiled", hashlib.sha256("\n".join(kind).encode()).hexdigest()[:12])
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder.absolute()))
    # Small programs, too: building a model compiles dozens.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def _single_thread() -> None:
    """Give each thread pool of TensorFlow one thread.

    enable_op_determinism would keep Keras from using XLA, and one thread is deterministic anyway.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.list_logical_devices()
    # TensorFlow warns of repeated compilation, but each run has another model.
    tf.get_logger().setLevel("ERROR")


def _leave_tensorflow_out() -> None:
    """Keep Keras from importing TensorFlow (3 s, 300 MB) when it saves a layer.

    Other modules can import TensorFlow as before.
    """
    import keras

    if "tensorflow" in sys.modules:
        return
    # Python marks a module in this way that cannot be imported.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        keras.saving.serialize_keras_object(keras.layers.Identity())
    finally:
        del sys.modules["tensorflow"]


@contextmanager
def quiet() -> Iterator[None]:
    """Discard file descriptor 2, to which TensorFlow reports missing GPUs at any log level."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
