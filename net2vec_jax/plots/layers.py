"""Old name of `single_against_embedding`; its last callers move away."""

from net2vec_jax.plots.single_against_embedding import *  # noqa: F403
