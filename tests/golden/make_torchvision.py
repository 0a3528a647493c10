"""Write torchvision/NAME.npz: a few numbers of each of torchvision's networks, from larger files.

    python tests/golden/make_torchvision.py FOLDER

FOLDER holds outputs of torchvision 0.29.1 (torch 2.14.1, CPU, float32) under the weights of
`torchvision_golden.golden_array`, on two images `numpy.random.default_rng(0).standard_normal((2, 3,
224, 224))`; GoogLeNet was built with `aux_logits=False, transform_input=False`. A file here keeps

- `keys`, `shapes`: JSON texts, the state dict's keys in order and their shapes;
- `logits` (2, 50): of the first 50 classes;
- per tapped module `tap/MODULE/index` (64 flat indices into the C-ordered NCHW output), `/value`
  (float32 there), `/shape` and `/std`, the standard deviation of the whole output.
"""

import sys
from pathlib import Path

import numpy as np

CLASSES, VALUES = 50, 64

if __name__ == "__main__":
    target = Path(__file__).parent / "torchvision"
    for path in sorted(Path(sys.argv[1]).glob("*.npz")):
        with np.load(path) as file:
            full = dict(file)
        few = {name: full[name] for name in ("keys", "shapes")}
        few["logits"] = full["logits"][:, :CLASSES]
        for name, values in full.items():
            part = name.rsplit("/", 1)[-1]
            if part in ("index", "value"):
                step = len(values) // VALUES
                few[name] = values[: step * VALUES : step]
                if part == "index":
                    few[name] = few[name].astype(np.int32)
            elif part in ("shape", "std"):
                few[name] = values.astype(np.int32 if part == "shape" else np.float32)
        np.savez_compressed(target / path.name, **few)
