"""How images are optimised."""

import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.inversion.descent import Descent


def test_the_decay_is_spread_over_other_steps() -> None:
    assert Descent(steps=200, decay_every=100).with_steps(50) == Descent(steps=50, decay_every=25)
    assert Descent(steps=200, decay_every=100).with_steps(1).decay_every == 1
    with pytest.raises(Net2VecError, match="steps must be at least 1"):
        Descent().with_steps(0)
