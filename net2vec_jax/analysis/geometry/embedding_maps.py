"""Maps of unit embeddings: principal components and t-SNE (reference behaviour 8.5, 8.10).

Masked concepts (`concept_embeddings`) have no place on a map: their coordinates are NaN.
C concepts, K filters.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from net2vec_jax.analysis.geometry.concept_embeddings import UnitEmbeddings, normalise_embeddings
from net2vec_jax.core.errors import Net2VecError

COMPONENTS = 10
"""Principal components of a spectrum (behaviour 8.5)."""
PERPLEXITY = 30.0
"""t-SNE's usual number of effective neighbours."""
LEAST_CONCEPTS = 4
"""t-SNE needs so many concepts."""
MOST_EXACT = 2000
"""Up to so many concepts exact gradients are no slower than approximate ones."""


@dataclasses.dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Coordinates of concepts along the directions of greatest variance.

    Attributes:
      coordinates: float64 [C, components]; NaN for masked concepts. The sign of a component is
        such that its coordinate of greatest size is positive.
      explained: fraction of the variance along each component, float64 [components].
    """

    coordinates: np.ndarray
    explained: np.ndarray


def map_principal_components(unit: UnitEmbeddings, *, components: int = 2) -> PrincipalComponents:
    """Principal components of the unit embeddings, centred; 0 beyond their rank.

    Examples:
      >>> unit = normalise_embeddings(np.array([[2.0, 0.0], [0.0, 3.0]]))
      >>> map_principal_components(unit).explained.round(6).tolist()
      [1.0, 0.0]
    """
    placed, explained = _decompose(unit.vectors[unit.is_valid], components)
    coordinates = np.full((len(unit), components), np.nan)
    coordinates[unit.is_valid] = placed
    return PrincipalComponents(coordinates, explained)


def explain_variance(
    weights: Float[np.ndarray, "C K"], *, components: int = COMPONENTS
) -> Float[np.ndarray, " components"]:
    """Fraction of the variance of raw weights along each principal component (behaviour 8.5).

    Rows of zeros, or not finite, are left out.
    """
    weights = np.asarray(weights, np.float64)
    return _decompose(weights[normalise_embeddings(weights).is_valid], components)[1]


def map_neighbourhoods(
    unit: UnitEmbeddings, *, perplexity: float = PERPLEXITY, seed: int = 0
) -> Float[np.ndarray, "C 2"]:
    """t-SNE of the unit embeddings, from the map of principal components on.

    Distances are Euclidean; on unit embeddings their squares are 2 - 2 cosine.

    Args:
      unit: the embeddings.
      perplexity: effective neighbours of a concept; at most a third of the other concepts.
      seed: of the random numbers.

    Returns:
      Coordinates; NaN for masked concepts.

    Raises:
      Net2VecError: fewer than `LEAST_CONCEPTS` concepts, or a perplexity that is not above 0.
    """
    from sklearn.manifold import TSNE  # imported here: it takes a second, and few ask for it

    vectors = unit.vectors[unit.is_valid]
    if len(vectors) < LEAST_CONCEPTS:
        raise Net2VecError(
            f"a t-SNE map needs at least {LEAST_CONCEPTS} concepts with embeddings, not "
            f"{len(vectors)}"
        )
    if not perplexity > 0:
        raise Net2VecError(f"the perplexity of a t-SNE map must be above 0, not {perplexity}")
    start = _decompose(vectors, 2)[0]
    spread = start[:, 0].std()
    model = TSNE(
        perplexity=min(perplexity, (len(vectors) - 1) / 3),
        init=(start / (spread or 1) * 1e-4).astype(np.float32),  # pyright: ignore[reportArgumentType]
        random_state=seed,
        method="exact" if len(vectors) <= MOST_EXACT else "barnes_hut",
    )
    coordinates = np.full((len(unit), 2), np.nan)
    coordinates[unit.is_valid] = model.fit_transform(vectors.astype(np.float32))
    return coordinates


def _decompose(rows: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates [rows, components] along principal components, and their parts of variance."""
    coordinates, explained = np.zeros((len(rows), components)), np.zeros(components)
    if not len(rows):
        return coordinates, explained
    left, size, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    found = left[:, :components] * size[:components]
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    coordinates[:, : found.shape[1]] = np.where(largest < 0, -found, found)
    total = (size**2).sum()
    if total > 0:
        explained[: found.shape[1]] = size[:components] ** 2 / total
    return coordinates, explained
