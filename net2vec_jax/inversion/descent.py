"""Gradient descent on images: one jitted scan over all steps, every image for itself.

A loss takes parameters whose arrays have N images as their first axis, one key per image, and the
share of steps done, in [0, 1); it gives one number per image. An image's result depends on its own
start and key alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from net2vec_jax.core.errors import Net2VecError

DescentMethod = Literal["sgd", "adam"]
ImageLoss = Callable[[Any, Key[Array, " N"], Float[Array, ""]], Float[Array, " N"]]


@dataclass(frozen=True)
class Descent:
    """How images are optimised.

    Attributes:
      method: "sgd", with momentum; or "adam", whose steps do not depend on the gradient's scale.
      learning_rate: of the first steps.
      steps: how many.
      decay: what the learning rate is multiplied with from time to time.
      decay_every: after how many steps.
      momentum: of "sgd".
    """

    method: str = "sgd"
    learning_rate: float = 100.0
    steps: int = 200
    decay: float = 0.1
    decay_every: int = 100
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.method not in get_args(DescentMethod):
            raise Net2VecError(
                f"method {self.method!r} is none of {', '.join(get_args(DescentMethod))}"
            )
        for name in ("steps", "decay_every"):
            if getattr(self, name) < 1:
                raise Net2VecError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise Net2VecError(f"the learning rate must be above 0, not {self.learning_rate}")

    def with_steps(self, steps: int) -> Descent:
        """So many steps, the learning rate's decay spread over them as it was.

        Raises:
          Net2VecError: fewer than one step.
        """
        every = max(1, round(self.decay_every * steps / self.steps))
        return replace(self, steps=steps, decay_every=every)

    def transformation(self) -> optax.GradientTransformation:
        """The optimiser."""
        rate = optax.exponential_decay(
            self.learning_rate, self.decay_every, self.decay, staircase=True
        )
        if self.method == "adam":
            return optax.adam(rate)
        return optax.sgd(rate, momentum=self.momentum)


def descend(
    loss: ImageLoss, start: Any, keys: Key[Array, " N"], descent: Descent
) -> tuple[Any, Float[Array, "steps N"]]:
    """Minimise each image's loss; to be called under `jax.jit`.

    Args:
      loss: (parameters, one key per image, share of steps done) → one number per image.
      start: the first parameters, a pytree of arrays [N, …].
      keys: one per image; each step takes its own from them.
      descent: how.

    Returns:
      The last parameters, and the losses before every step.
    """
    optimiser = descent.transformation()

    def total(values: Any, keys: Array, done: Array) -> tuple[Array, Array]:
        losses = loss(values, keys, done)
        return losses.sum(), losses

    def step(carry: tuple, number: Array) -> tuple[tuple, Array]:
        values, state = carry
        step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        done = number / descent.steps
        (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(values, step_keys, done)
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it for its count of steps
            updates, state = optimiser.update(gradient, state, values)
        return (optax.apply_updates(values, updates), state), losses

    (end, _), losses = jax.lax.scan(step, (start, optimiser.init(start)), jnp.arange(descent.steps))
    return end, losses
