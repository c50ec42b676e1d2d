"""Custom gradients for the RNN, GRU and LSTM recurrences of Keras on JAX, for processors.

Numbers are equal up to rounding. The gradient of a kernel is one matrix product over all steps,
after the loop, instead of the sum of one product per step. The backward loop uses the derivative of
the cell in closed form. docs/performance.md gives the speed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

# States of one step, (h,) or (h, c): each <float32>[batch, units].
States = tuple[Any, ...]


@dataclass(frozen=True)
class Recurrence:
    """A cell after its two products, `x` with the inputs and `h` with the state.

    Both are <float32>[batch, gates * units].

    Attributes:
        forward: (x, h, old states) to (new states, residuals for `backward`).
        backward: (gradients of the new states, residuals) to (gradient of x, of h, of the old
            states without the product). The gradient of h is None if it equals that of x.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]


def _rnn() -> Recurrence:
    import jax.numpy as jnp

    def forward(x: Any, h: Any, old: States) -> Any:
        new = jnp.tanh(x + h)
        return (new,), (new,)

    def backward(grads: States, kept: Any) -> Any:
        (new,) = kept
        of_x = grads[0] * (1 - new * new)
        return of_x, None, (jnp.zeros_like(new),)

    return Recurrence(forward, backward)


def _gru() -> Recurrence:
    import jax
    import jax.numpy as jnp

    def forward(x: Any, h: Any, old: States) -> Any:
        units = old[0].shape[1]
        gates = jax.nn.sigmoid(x[:, : 2 * units] + h[:, : 2 * units])
        update, reset, inner = gates[:, :units], gates[:, units:], h[:, 2 * units :]
        candidate = jnp.tanh(x[:, 2 * units :] + reset * inner)
        return (update * old[0] + (1 - update) * candidate,), (
            update,
            reset,
            inner,
            candidate,
            old[0],
        )

    def backward(grads: States, kept: Any) -> Any:
        update, reset, inner, candidate, old = kept
        (grad,) = grads
        on_update = grad * (old - candidate) * update * (1 - update)
        on_candidate = grad * (1 - update) * (1 - candidate * candidate)
        on_reset = on_candidate * inner * reset * (1 - reset)
        of_x = jnp.concatenate([on_update, on_reset, on_candidate], -1)
        of_h = jnp.concatenate([on_update, on_reset, on_candidate * reset], -1)
        return of_x, of_h, (grad * update,)

    return Recurrence(forward, backward)


def _lstm() -> Recurrence:
    import jax
    import jax.numpy as jnp

    def forward(x: Any, h: Any, old: States) -> Any:
        units, gates = old[0].shape[1], x + h
        soft = jax.nn.sigmoid(gates)
        entry, keep, exit = soft[:, :units], soft[:, units : 2 * units], soft[:, 3 * units :]
        candidate = jnp.tanh(gates[:, 2 * units : 3 * units])
        carry = keep * old[1] + entry * candidate
        shown = jnp.tanh(carry)
        return (exit * shown, carry), (entry, keep, candidate, exit, shown, old[1])

    def backward(grads: States, kept: Any) -> Any:
        entry, keep, candidate, exit, shown, old_carry = kept
        on_carry = grads[1] + grads[0] * exit * (1 - shown * shown)
        of_x = jnp.concatenate(
            [
                on_carry * candidate * entry * (1 - entry),
                on_carry * old_carry * keep * (1 - keep),
                on_carry * entry * (1 - candidate * candidate),
                grads[0] * shown * exit * (1 - exit),
            ],
            -1,
        )
        return of_x, None, (jnp.zeros_like(shown), on_carry * keep)

    return Recurrence(forward, backward)


KINDS: dict[str, Callable[[], Recurrence]] = {"SimpleRNN": _rnn, "GRU": _gru, "LSTM": _lstm}


def unrolled(cell: Recurrence, masked: bool, hoisted: bool = False) -> Callable[..., Any]:
    """A function (x, first states, weights, mask) to (h of every step, last states), with gradient.

    The function takes x <float32>[time, batch, features]; weights (kernel [features, gates *
    units], recurrent kernel [units, gates * units], bias [gates * units], bias of the state's
    product or None); and mask <bool>[time, batch, 1]. A false step leaves the states unchanged.

    Args:
        masked: whether the mask is used.
        hoisted: whether one product of all inputs is computed before the loop. An accelerator then
            starts fewer programs; for the cache of a processor the product is too large.
    """
    import jax
    import jax.numpy as jnp

    def step(states: States, inputs: Any, weights: Any) -> Any:
        x, real = inputs
        kernel, recurrent, bias, inner = weights
        product = states[0] @ recurrent
        new, residuals = cell.forward(
            x if hoisted else x @ kernel + bias,
            product if inner is None else product + inner,
            states,
        )
        if masked:
            new = tuple(jnp.where(real, value, old) for value, old in zip(new, states, strict=True))
        return new, (new[0], residuals)

    def read(x: Any, weights: Any) -> Any:
        return x @ weights[0] + weights[2] if hoisted else x

    def forward(x: Any, first: States, weights: Any, mask: Any) -> Any:
        inputs = read(x, weights), mask
        last, (every, kept) = jax.lax.scan(
            lambda states, step_inputs: step(states, step_inputs, weights), first, inputs
        )
        return (every, last), (x, first[0], every, kept, weights, mask)

    def back(states: States, step_inputs: Any, recurrent: Any) -> Any:
        grad, kept, real = step_inputs
        states = (states[0] + grad, *states[1:])
        through = tuple(jnp.where(real, value, 0) for value in states) if masked else states
        of_x, of_h, old = cell.backward(through, kept)
        old = (old[0] + (of_x if of_h is None else of_h) @ recurrent.T, *old[1:])
        if masked:
            old = tuple(
                value + jnp.where(real, 0, grad) for value, grad in zip(old, states, strict=True)
            )
        return old, (of_x, of_h)

    def backward(kept: Any, grads: Any) -> Any:
        x, first, every, residuals, (kernel, recurrent, _, inner), mask = kept
        of_every, of_last = grads
        of_first, products = jax.lax.scan(
            lambda states, step_inputs: back(states, step_inputs, recurrent),
            of_last,
            (of_every, residuals, mask),
            reverse=True,
        )
        of_x = products[0].reshape(-1, products[0].shape[-1])
        of_h = of_x if products[1] is None else products[1].reshape(-1, products[1].shape[-1])
        before = jnp.concatenate([first[None], every[:-1]])
        of_weights = (
            x.reshape(-1, x.shape[-1]).T @ of_x,
            before.reshape(-1, before.shape[-1]).T @ of_h,
            of_x.sum(0),
            None if inner is None else of_h.sum(0),
        )
        return (of_x @ kernel.T).reshape(x.shape), of_first, of_weights, None

    @jax.custom_vjp
    def run(x: Any, first: States, weights: Any, mask: Any) -> Any:
        def outputs_only(states: States, inputs: Any) -> Any:
            new, (output, _) = step(states, inputs, weights)
            return new, output

        last, every = jax.lax.scan(outputs_only, first, (read(x, weights), mask))
        return every, last

    run.defvjp(forward, backward)
    return run


def install(layer: Any, anywhere: bool = False) -> Any:
    """Replace the loop of a recurrent layer on JAX, if this module has one; return the layer.

    The layer is saved and loaded as before. On a GPU it keeps the loop of Keras, which uses cuDNN,
    unless `anywhere`: cuDNN does not support a batch of models.
    """
    import keras

    kind = KINDS.get(type(layer).__name__)
    if kind is None or keras.backend.backend() != "jax":
        return layer
    import jax

    plain = layer.recurrent_dropout == 0 and getattr(layer, "reset_after", True)
    cpu = jax.default_backend() == "cpu"
    if plain and (cpu or anywhere):
        layer.inner_loop = partial(_inner_loop, layer, kind(), hoisted=not cpu)
    return layer


def _inner_loop(
    layer: Any,
    kind: Recurrence,
    sequences: Any,
    initial_state: Any,
    mask: Any,
    training: bool = False,
    hoisted: bool = False,
) -> Any:
    """Replaces `keras.layers.RNN.inner_loop`: (last output, outputs [batch, time or 1, units],
    states).
    """
    import jax.numpy as jnp

    cell = layer.cell
    states = tuple(initial_state) if isinstance(initial_state, list | tuple) else (initial_state,)
    mask = mask[0] if isinstance(mask, list | tuple) else mask
    x = jnp.swapaxes(jnp.asarray(sequences), 0, 1)
    if training and layer.dropout:
        x = x * cell.get_dropout_mask(sequences[:, 0, :])
    bias = cell.bias.value
    biases = (bias[0], bias[1]) if bias.ndim == 2 else (bias, None)
    real = None if mask is None else jnp.swapaxes(mask, 0, 1)[..., None]
    if layer.go_backwards:
        x, real = x[::-1], None if real is None else real[::-1]
    weights = (cell.kernel.value, cell.recurrent_kernel.value, *biases)
    every, last = unrolled(kind, real is not None, hoisted)(x, states, weights, real)
    outputs = jnp.swapaxes(every, 0, 1) if layer.return_sequences else every[-1][:, None]
    return every[-1], outputs, list(last)
