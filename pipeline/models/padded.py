"""One network for a batch of models that differ in width and dropout: narrower ones are padded.

A padded unit has zero weights, so its state and its gradients stay exactly zero. Two things need
care: JAX draws a dropout mask for a shape, and a normalisation counts its columns.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config.schema import Config
from .cells import BACKWARDS, CELLS
from .recurrence import KINDS, install

# Keys of `model` that may differ within a batch: widths, which are padded, and dropout rates.
WIDTHS = ("units", "embedding")
RATES = ("dropout", "input_dropout", "recurrent_dropout")


def can_pad(config: Config) -> bool:
    """Whether this module can pad the layer: a cell of Keras, not a user-defined one."""
    return CELLS.get(config.cell.type.removeprefix(BACKWARDS)) in KINDS


@dataclass(frozen=True)
class Axis:
    """An axis of a weight: `blocks` parts (gates, directions), each as wide as the key `width`.

    Without `width` it has the same length in each model.
    """

    width: str | None = None
    blocks: int = 1

    def places(self, size: int, widths: dict[str, int]) -> NDArray[np.int64]:
        """The columns among `size` that a model with `widths` uses: <int64>[columns]."""
        if self.width is None:
            return np.arange(size)
        wide = size // self.blocks
        return (np.arange(self.blocks)[:, None] * wide + np.arange(widths[self.width])).reshape(-1)


class Padded:
    """A compiled model, as wide as the widest of the batch, that can compute as each of its models.

    Attributes:
        model: call it within `at`.
        settings: those of the model that is being traced, see `settings_of`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.settings: dict[str, Any] = {}
        self._of: dict[int, tuple[Axis, ...]] = {}
        model.optimizer._clip_gradients = self._clipped
        self._walk()

    @staticmethod
    def settings_of(config: Config) -> dict[str, np.generic]:
        """Settings of a model in the program: widths, 1 - rates, gradient bounds (0 for none)."""
        model, train = config.model, config.train
        widths = {name: np.uint32(getattr(model, name)) for name in WIDTHS}
        # As in Keras: the difference in double precision, then rounded.
        kept = {name: np.float32(1.0 - getattr(model, name)) for name in RATES}
        bounds = {
            name: np.float32(getattr(train, name) or 0.0) for name in ("clipnorm", "clipvalue")
        }
        return {**widths, **kept, **bounds}

    @contextmanager
    def at(self, settings: dict[str, Any]) -> Iterator[None]:
        """Let the model compute with `settings` (numbers or tracers of JAX)."""
        self.settings = settings
        try:
            yield
        finally:
            self.settings = {}

    def pad(self, own: Sequence[Any], config: Config, whole: Sequence[Any]) -> list[NDArray[Any]]:
        """The variables `own` of one model, padded with zeros to the shapes of `whole`."""
        padded = []
        for small, large in zip(own, whole, strict=True):
            value = np.zeros(large.shape, large.dtype)
            value[self._places(large, config)] = small.value
            padded.append(value)
        return padded

    def cut(
        self, values: Sequence[Any], config: Config, whole: Sequence[Any]
    ) -> list[NDArray[Any]]:
        """The inverse of `pad`, for `values` of the variables `whole`."""
        return [
            np.asarray(value)[self._places(large, config)]
            for value, large in zip(values, whole, strict=True)
        ]

    def _places(self, variable: Any, config: Config) -> tuple[NDArray[np.int64], ...]:
        axes = self._of.get(id(variable), (Axis(),) * len(variable.shape))
        widths = {name: getattr(config.model, name) for name in WIDTHS}
        return np.ix_(
            *(axis.places(size, widths) for axis, size in zip(axes, variable.shape, strict=True))
        )

    def _walk(self) -> None:
        """Record the axes of each weight, and replace methods that depend on widths."""
        import keras

        features = Axis()
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Embedding):
                features = Axis("embedding")
                self._of[id(layer.embeddings)] = (Axis(), features)
            elif type(layer).__name__ in KINDS:
                features = self._recurrent([layer], features)
            elif (
                isinstance(layer, keras.layers.Bidirectional)
                and type(layer.forward_layer).__name__ in KINDS
            ):
                features = self._recurrent([layer.forward_layer, layer.backward_layer], features)
            elif isinstance(layer, keras.layers.LayerNormalization):
                self._of[id(layer.gamma)] = self._of[id(layer.beta)] = (features,)
                layer.call = partial(self._normalised, layer, features)
            elif isinstance(layer, keras.layers.Dropout):
                layer.call = partial(self._dropped, layer, features)
            elif isinstance(layer, keras.layers.Dense):
                self._of[id(layer.kernel)] = (features, Axis())
                features = Axis()
            elif layer.weights:
                # A user-defined cell, of the same width in each model.
                features = Axis()

    def _recurrent(self, directions: Sequence[Any], features: Axis) -> Axis:
        """Record a layer of one or two directions that reads `features`; return its output axis."""
        for layer in directions:
            cell = layer.cell
            gates = Axis("units", cell.kernel.shape[1] // cell.units)
            self._of[id(cell.kernel)] = (features, gates)
            self._of[id(cell.recurrent_kernel)] = (Axis("units"), gates)
            self._of[id(cell.bias)] = (*(Axis() for _ in cell.bias.shape[1:]), gates)
            cell.get_dropout_mask = partial(self._masks, cell, "dropout", "input_dropout", features)
            cell.get_recurrent_dropout_mask = partial(
                self._masks, cell, "recurrent_dropout", "recurrent_dropout", Axis("units")
            )
            # cuDNN does not support a batch of models.
            layer.use_cudnn = False
            install(layer, anywhere=True)
        return Axis("units", len(directions))

    def _columns(self, axis: Axis, size: int) -> tuple[Any, Any, Any]:
        """For each of `size` columns its index in the model <uint32>, and whether the model has it;
        then the number of the model's columns."""
        import jax.numpy as jnp

        place = jnp.arange(size, dtype=jnp.uint32)
        if axis.width is None:
            return place, jnp.ones(size, bool), jnp.uint32(size)
        wide, own = size // axis.blocks, self.settings[axis.width]
        return place // wide * own + place % wide, place % wide < own, axis.blocks * own

    def _kept(self, seeds: Any, shape: tuple[int, ...], axis: Axis, rate: str) -> Any:
        """The dropout mask <bool>`shape`, in the model's columns equal to that of the model alone.

        JAX hashes the position of a number in its array, so the numbers of a narrower array are
        those of other positions. Padded columns hold arbitrary values.
        """
        import jax
        import jax.numpy as jnp
        from jax.extend.random import threefry_2x32

        key = seeds.next()
        number, _, own = self._columns(axis, shape[-1])
        row = jnp.arange(math.prod(shape[:-1]), dtype=jnp.uint32)[:, None]
        place = (row * own + number).reshape(-1)
        first, second = jnp.split(
            threefry_2x32((key[0], key[1]), jnp.concatenate([jnp.zeros_like(place), place])), 2
        )
        # A float between 1 and 2 with these bits, as in jax.random.uniform.
        bits = (first ^ second) >> 9 | np.float32(1).view(np.uint32)
        uniform = jax.lax.bitcast_convert_type(bits, jnp.float32) - 1
        return (uniform < self.settings[rate]).reshape(shape)

    def _dropped(self, layer: Any, axis: Axis, inputs: Any, training: bool = False) -> Any:
        """Replaces `keras.layers.Dropout.call`."""
        import jax.numpy as jnp

        if not training:
            return inputs
        kept = self._kept(layer.seed_generator, inputs.shape, axis, "dropout")
        return jnp.where(kept, inputs / self.settings["dropout"], 0)

    def _masks(self, cell: Any, name: str, rate: str, axis: Axis, step_input: Any) -> Any:
        """Replaces `get_dropout_mask` and `get_recurrent_dropout_mask`."""
        import jax.numpy as jnp

        if not getattr(cell, name):
            return None
        if getattr(cell, f"_{name}_mask", None) is None:

            def drawn() -> Any:
                kept = self._kept(cell.seed_generator, step_input.shape, axis, rate)
                return jnp.where(kept, 1 / self.settings[rate], 0)

            count = getattr(cell, "dropout_mask_count", None)
            setattr(
                cell, f"_{name}_mask", drawn() if count is None else [drawn() for _ in range(count)]
            )
        return getattr(cell, f"_{name}_mask")

    def _normalised(self, layer: Any, axis: Axis, inputs: Any) -> Any:
        """Replaces `keras.layers.LayerNormalization.call`, with the columns of the model only."""
        import jax
        import jax.numpy as jnp

        _, real, own = self._columns(axis, inputs.shape[-1])
        # Padded columns are 0 and change no sum, but would get a gradient.
        mean = jnp.where(real, inputs, 0).sum(-1, keepdims=True) / own
        variance = jnp.where(real, (inputs - mean) ** 2, 0).sum(-1, keepdims=True) / own
        scale = jax.lax.rsqrt(variance + layer.epsilon) * layer.gamma.value
        return inputs * scale + (layer.beta.value - mean * scale)

    def _clipped(self, grads: Sequence[Any]) -> list[Any]:
        """Replaces the clipping of the optimizer: by the norm or the bound of the model, if any."""
        import jax.numpy as jnp

        norm, bound = self.settings["clipnorm"], self.settings["clipvalue"]

        def clipped(grad: Any) -> Any:
            shortened = grad * norm / jnp.maximum(jnp.sqrt((grad * grad).sum()), norm)
            cut = jnp.where(bound > 0, jnp.clip(grad, -bound, bound), grad)
            return jnp.where(norm > 0, shortened, cut)

        return [clipped(grad) for grad in grads]
