"""Net2Vec in JAX: how concepts are encoded by the filters of deep networks."""

__version__ = "0.1.0"
