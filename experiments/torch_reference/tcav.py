"""TCAV by captum, with directions that are given instead of trained."""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from captum.concept import TCAV, Concept
from captum.concept._utils.classifier import Classifier


class GivenDirection(Classifier):
    """Hands captum the direction of the concept whose examples it is asked to train on."""

    directions: dict[int, torch.Tensor]

    def __init__(self) -> None:
        self.found = torch.empty(0)

    def train_and_eval(self, dataloader, test_split_ratio=0.33, **kwargs):
        """Takes the direction of the concept among the examples' labels."""
        labels = {int(label) for _, labels in dataloader for label in labels}
        (number,) = labels - {RANDOM}
        self.numbers = [number, RANDOM]
        direction = self.directions[number]
        self.found = torch.stack([direction, -direction])
        return {"accs": torch.tensor(1.0)}

    def weights(self):
        """The direction, and the opposite one for random examples, [2, F]."""
        return self.found

    def classes(self):
        """Numbers of the concept and of random examples."""
        return self.numbers


RANDOM = 10_000


def make_tcav(module, layer, directions, images, examples=2):
    """TCAV of a module, and its experimental sets: each concept against one of random examples.

    Args:
      module: of PyTorch.
      layer: name of a submodule whose output is [n, K, h, w].
      directions: [C, K], each taken at every place.
      images: [n, 3, H, W], of which concepts get examples.
      examples: of each concept.
    """
    pixels = torch.from_numpy(images)
    with torch.no_grad():
        found = {}
        hook = dict(module.named_modules())[layer].register_forward_hook(
            lambda _, __, output: found.update(shape=output.shape)
        )
        module(pixels[:1])
        hook.remove()
    _, channels, height, width = found["shape"]
    spread = torch.from_numpy(directions)[:, :, None, None].expand(-1, channels, height, width)
    GivenDirection.directions = dict(enumerate(spread.reshape(len(directions), -1)))
    loader = torch.utils.data.DataLoader(pixels[:examples], batch_size=examples)
    concepts = [Concept(number, f"concept {number}", loader) for number in range(len(directions))]
    random = Concept(RANDOM, "random", loader)
    tcav = TCAV(module, [layer], classifier=GivenDirection(), save_path=tempfile.mkdtemp())
    return tcav, [[concept, random] for concept in concepts]


def count_signs(module, layer, images, directions, classes):
    """How many images have a positive derivative, and the mean derivative, [C, Y] each."""
    tcav, sets = make_tcav(module, layer, directions, images)
    signs, magnitudes = np.zeros((2, len(directions), len(classes)))
    for place, target in enumerate(classes):
        scores = tcav.interpret(torch.from_numpy(images), sets, target=target)
        for number in range(len(directions)):  # captum's order is another
            found = scores[f"{number}-{RANDOM}"][layer]
            signs[number, place] = found["sign_count"][0] * len(images)
            magnitudes[number, place] = found["magnitude"][0]
    return signs.round().astype(int), magnitudes
