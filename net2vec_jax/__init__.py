"""Net2Vec in JAX: how concepts are encoded by the filters of deep networks.

Everything that a script can do, an import can do. The face has the names of `__init__.pyi`, each
imported when it is first used.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
