"""One network for several that differ in width and in rates of dropout: the narrower ones are padded with zeros, which stay zero.

A unit beyond a member's own has no weights, so its state and its gradients are zero to the bit, whatever trains it. Two things do not
follow by themselves and are done here: JAX draws a mask for a shape, and a normalisation counts its columns.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Config
from pipeline.models.cells import BACKWARDS, CELLS
from pipeline.models.recurrence import KINDS, install

# Settings of `model` that padding makes up for, and the rates at which its masks are drawn.
WIDTHS = ("units", "embedding")
RATES = ("dropout", "input_dropout", "recurrent_dropout")


def can_pad(config: Config) -> bool:
    """Whether the recurrent layer is one whose weights this module knows, and not one of a user's own."""
    return CELLS.get(config.cell.type.removeprefix(BACKWARDS)) in KINDS


@dataclass(frozen=True)
class Axis:
    """An axis of a weight: `blocks` parts side by side (gates, directions), each as wide as the setting `width`.

    Without one it is equally long in every member.
    """

    width: str | None = None
    blocks: int = 1

    def places(self, size: int, widths: dict[str, int]) -> NDArray[np.int64]:
        """Where the columns of a member of `widths` lie among `size`: <int64>[own columns]."""
        if self.width is None:
            return np.arange(size)
        wide = size // self.blocks
        return (np.arange(self.blocks)[:, None] * wide + np.arange(widths[self.width])).reshape(-1)


class Padded:
    """`model`, compiled, as wide as the widest of several: what pads and cuts their weights, and computes as each would alone.

    Attributes:
        model: to be called within `at`.
        member: the numbers of the member that is being traced, see `member_of`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.member: dict[str, Any] = {}
        self._of: dict[int, tuple[Axis, ...]] = {}
        model.optimizer._clip_gradients = self._clipped
        self._walk()

    @staticmethod
    def member_of(config: Config) -> dict[str, np.generic]:
        """What a program has to know of a member: widths, shares kept by dropout, bounds of gradients (0 for none)."""
        model, train = config.model, config.train
        widths = {name: np.uint32(getattr(model, name)) for name in WIDTHS}
        # As Keras has it: the difference in double precision, then rounded.
        kept = {name: np.float32(1.0 - getattr(model, name)) for name in RATES}
        bounds = {name: np.float32(getattr(train, name) or 0.0) for name in ("clipnorm", "clipvalue")}
        return {**widths, **kept, **bounds}

    @contextmanager
    def at(self, member: dict[str, Any]) -> Iterator[None]:
        """Within it the model computes as `member` (numbers or tracers of JAX)."""
        self.member = member
        try:
            yield
        finally:
            self.member = {}

    def pad(self, own: Sequence[Any], config: Config, whole: Sequence[Any]) -> list[NDArray[Any]]:
        """The values of a member's variables `own`, in the places they have in `whole`, the same variables of `model`; zeros around."""
        made = []
        for small, large in zip(own, whole, strict=True):
            value = np.zeros(large.shape, large.dtype)
            value[self._places(large, config)] = small.value
            made.append(value)
        return made

    def cut(self, values: Sequence[Any], config: Config, whole: Sequence[Any]) -> list[NDArray[Any]]:
        """The inverse of `pad`: of `values`, one for each of the variables `whole` of `model`, what is a member's own."""
        return [np.asarray(value)[self._places(large, config)] for value, large in zip(values, whole, strict=True)]

    def _places(self, variable: Any, config: Config) -> tuple[NDArray[np.int64], ...]:
        axes = self._of.get(id(variable), (Axis(),) * len(variable.shape))
        widths = {name: getattr(config.model, name) for name in WIDTHS}
        return np.ix_(*(axis.places(size, widths) for axis, size in zip(axes, variable.shape, strict=True)))

    def _walk(self) -> None:
        """Note how each weight is made of widths, and have each layer compute as the member of now; from the inputs to the head."""
        import keras

        features = Axis()
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Embedding):
                features = Axis("embedding")
                self._of[id(layer.embeddings)] = (Axis(), features)
            elif type(layer).__name__ in KINDS:
                features = self._recurrent([layer], features)
            elif isinstance(layer, keras.layers.Bidirectional) and type(layer.forward_layer).__name__ in KINDS:
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
                # A cell of a user's own, whose members are equally wide.
                features = Axis()

    def _recurrent(self, directions: Sequence[Any], features: Axis) -> Axis:
        """The weights and masks of a layer that reads `features`, one way or both; what its states are made of."""
        for layer in directions:
            cell = layer.cell
            gates = Axis("units", cell.kernel.shape[1] // cell.units)
            self._of[id(cell.kernel)] = (features, gates)
            self._of[id(cell.recurrent_kernel)] = (Axis("units"), gates)
            self._of[id(cell.bias)] = (*(Axis() for _ in cell.bias.shape[1:]), gates)
            cell.get_dropout_mask = partial(self._masks, cell, "dropout", "input_dropout", features)
            cell.get_recurrent_dropout_mask = partial(self._masks, cell, "recurrent_dropout", "recurrent_dropout", Axis("units"))
            # A stack of networks is none that cuDNN takes.
            layer.use_cudnn = False
            install(layer, anywhere=True)
        return Axis("units", len(directions))

    def _columns(self, axis: Axis, size: int) -> tuple[Any, Any, Any]:
        """Of each of `size` padded columns its number among the member's own <uint32>, and whether it is one; how many it has."""
        import jax.numpy as jnp

        place = jnp.arange(size, dtype=jnp.uint32)
        if axis.width is None:
            return place, jnp.ones(size, bool), jnp.uint32(size)
        wide, own = size // axis.blocks, self.member[axis.width]
        return place // wide * own + place % wide, place % wide < own, axis.blocks * own

    def _kept(self, seeds: Any, shape: tuple[int, ...], axis: Axis, rate: str) -> Any:
        """What is not dropped, <bool>`shape`: at the member's own columns the numbers that it would draw alone.

        JAX hashes the place of a number in its array, so the numbers of a narrower array are those of other places. Beyond the
        own columns stands anything.
        """
        import jax
        import jax.numpy as jnp
        from jax.extend.random import threefry_2x32

        key = seeds.next()
        number, _, own = self._columns(axis, shape[-1])
        row = jnp.arange(math.prod(shape[:-1]), dtype=jnp.uint32)[:, None]
        place = (row * own + number).reshape(-1)
        first, second = jnp.split(threefry_2x32((key[0], key[1]), jnp.concatenate([jnp.zeros_like(place), place])), 2)
        # A float between 1 and 2 with these bits, as in jax.random.uniform.
        bits = (first ^ second) >> 9 | np.float32(1).view(np.uint32)
        uniform = jax.lax.bitcast_convert_type(bits, jnp.float32) - 1
        return (uniform < self.member[rate]).reshape(shape)

    def _dropped(self, layer: Any, axis: Axis, inputs: Any, training: bool = False) -> Any:
        """In place of `keras.layers.Dropout.call`."""
        import jax.numpy as jnp

        if not training:
            return inputs
        kept = self._kept(layer.seed_generator, inputs.shape, axis, "dropout")
        return jnp.where(kept, inputs / self.member["dropout"], 0)

    def _masks(self, cell: Any, name: str, rate: str, axis: Axis, step_input: Any) -> Any:
        """In place of a cell's `get_dropout_mask` and `get_recurrent_dropout_mask`: one mask, or one a gate, for all steps."""
        import jax.numpy as jnp

        if not getattr(cell, name):
            return None
        if getattr(cell, f"_{name}_mask", None) is None:

            def drawn() -> Any:
                kept = self._kept(cell.seed_generator, step_input.shape, axis, rate)
                return jnp.where(kept, 1 / self.member[rate], 0)

            count = getattr(cell, "dropout_mask_count", None)
            setattr(cell, f"_{name}_mask", drawn() if count is None else [drawn() for _ in range(count)])
        return getattr(cell, f"_{name}_mask")

    def _normalised(self, layer: Any, axis: Axis, inputs: Any) -> Any:
        """In place of `keras.layers.LayerNormalization.call`: mean and variance of the member's own columns."""
        import jax
        import jax.numpy as jnp

        _, real, own = self._columns(axis, inputs.shape[-1])
        # Padded columns are 0 and would change no sum, but they would get a gradient of it.
        mean = jnp.where(real, inputs, 0).sum(-1, keepdims=True) / own
        variance = jnp.where(real, (inputs - mean) ** 2, 0).sum(-1, keepdims=True) / own
        scale = jax.lax.rsqrt(variance + layer.epsilon) * layer.gamma.value
        return inputs * scale + (layer.beta.value - mean * scale)

    def _clipped(self, grads: Sequence[Any]) -> list[Any]:
        """In place of the optimizer's: each gradient within the member's norm or its bound, where it has one."""
        import jax.numpy as jnp

        norm, bound = self.member["clipnorm"], self.member["clipvalue"]

        def one(grad: Any) -> Any:
            shortened = grad * norm / jnp.maximum(jnp.sqrt((grad * grad).sum()), norm)
            cut = jnp.where(bound > 0, jnp.clip(grad, -bound, bound), grad)
            return jnp.where(norm > 0, shortened, cut)

        return [one(grad) for grad in grads]
