"""What a picture shows: a concept or a filter on one image, before anything is drawn.

Masks lie on the segmentation grid [Y, X], whatever the size of the image.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptPicture:
    """A concept on one image: ground truth, and what the run predicts.

    Attributes:
      image: index in the dataset.
      percentile: of the embedding's individual IoU among the concept's images of the split,
        0 (lowest) … 100 (highest).
      embedding_iou: individual IoU of the embedding on this image, in [0, 1].
      filter_iou: that of the best single filter, chosen on train.
      truth: bool [Y, X].
      embedding_mask: bool [Y, X], where z = upsample(Σ_k w_k x_k) is above the embedding's level,
        which is 0 but for the preset `converged`.
      filter_mask: bool [Y, X], upsample(1[A_k > T_k]) > 0.5.
      score: float32 [Y, X], σ(z − level) in [0, 1]: above 0.5 in the mask.
    """

    image: int
    percentile: float
    embedding_iou: float
    filter_iou: float
    truth: np.ndarray
    embedding_mask: np.ndarray
    filter_mask: np.ndarray
    score: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FilterPicture:
    """A filter on one image.

    Attributes:
      image: index in the dataset.
      maximum: the filter's largest activation on the image.
      mask: bool [Y, X], upsample(1[A_k > T_k]) > 0.5.
    """

    image: int
    maximum: float
    mask: np.ndarray
