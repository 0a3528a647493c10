"""Classification of all photographs: our probe gives what the original Net2Vec code gave.

The goldens record which images the original drew, in which order; ours sees the same. Its settings
were a learning rate of 1e-4, constant or divided by ten after 10 and 20 epochs.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from net2vec_jax.activations.pooled import collect_pooled_activations
from net2vec_jax.probes.classification.groups import HeadGroups
from net2vec_jax.probes.classification.model import score
from net2vec_jax.probes.classification.sampling import ListedSampler
from net2vec_jax.probes.classification.training import (
    ClassificationConfig,
    train_classification_heads,
)
from net2vec_jax.probes.heads import Heads
from net2vec_jax.stats.metrics import mean_over_batches

# The goldens' own tolerances: 1e-6 after a few epochs, 1e-5 at the end.
EARLY, LATE = 1e-6, 1e-5


@pytest.fixture(scope="module")
def pooled(block10_activations: np.ndarray) -> np.ndarray:
    return collect_pooled_activations(np.array_split(block10_activations, 5))


def _recorded(golden, name: str, label: int) -> np.ndarray:
    return golden[f"{name}_{label}"]


@pytest.mark.parametrize(("schedule", "decay"), [("const", None), ("e10", 10)])
def test_weights_bias_and_accuracy(
    pooled: np.ndarray, goldens: Path, schedule: str, decay: int | None
) -> None:
    with np.load(goldens / "block10_classification.npz") as file:
        golden = dict(file)
    kept = np.flatnonzero(golden["n_train"] > 0)  # road is on every photograph
    assert len(kept) == len(golden["labels"]) - 1
    labels, count = golden["labels"][kept], golden["n_train"][kept]
    shape = (30, len(kept), count.max())
    image, shows = np.zeros(shape, np.int32), np.zeros(shape, bool)
    for place, label in enumerate(labels):
        image[:, place, : count[place]] = _recorded(golden, "train_indexes", label)
        shows[:, place, : count[place]] = _recorded(golden, "train_targets", label)
    sampler = ListedSampler(jnp.asarray(image), jnp.asarray(shows))
    place = np.arange(len(kept), dtype=np.int32)
    heads = Heads.of(
        place, golden["init_weights"][kept], initial_bias=golden["init_bias"][kept].reshape(-1)
    )
    groups = HeadGroups(
        concept=place, seed=np.zeros_like(place), number=labels, name=tuple(map(str, labels)),
        rows=place[:, None], sampler=sampler, count=count,
    )  # fmt: skip
    kept_weights = {}
    for epochs in (1, 3, 30):
        config = ClassificationConfig(
            epochs=epochs, learning_rate=1e-4, epochs_per_decay=decay, chunk_size=4
        )
        result = train_classification_heads(heads, pooled, groups, sampler.epoch_as_words, config)
        for name, found in (("weights", result.weights), ("bias", result.bias)):
            np.testing.assert_allclose(
                found,
                golden[f"{name}_epoch{epochs}_{schedule}"][kept].reshape(found.shape),
                rtol=0,
                atol=LATE if epochs == 30 else EARLY,
            )
        kept_weights[epochs] = result
    result = kept_weights[30]
    for place, label in enumerate(labels):
        # The original's means over batches, of the images that it drew for val once.
        images = _recorded(golden, "val_indexes", label).reshape(-1)
        if not len(images):
            continue
        target = _recorded(golden, "val_targets", label).reshape(-1).astype(bool)
        logits = np.asarray(
            score(
                jnp.asarray(result.weights[place][None, None]),
                jnp.asarray(result.bias[place][None, None]),
                jnp.asarray(pooled[:, None, images]),
            )
        )[0, :, 0]
        correct = np.where(target, logits > 0, logits < 0)
        loss = np.logaddexp(0, -np.where(target, logits, -logits))
        for name, values in (("acc", correct), ("loss", loss)):
            expected = golden[f"val_{name}_{schedule}"][kept[place], -1]
            found = mean_over_batches(values.astype(np.float64), 64)
            np.testing.assert_allclose(
                found, expected, rtol=0, atol=LATE, err_msg=f"{label} {name}"
            )
