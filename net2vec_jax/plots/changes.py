"""Old name of `similarity`; its last callers move away."""

from net2vec_jax.plots.similarity import *  # noqa: F403
