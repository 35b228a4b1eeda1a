"""Whether a classifier can tell the images of two domains apart: a two-sample test.

Histograms of two sequences can be alike where the images are not, for they forget where in the image a value lies. A
classifier that names the domain of held-out images no better than chance has seen no shift [1].

References:
    [1] Lopez-Paz and Oquab, Revisiting classifier two-sample tests, ICLR 2017, arXiv 1610.06545. There the classifier
        is a network on half of the data; on a dozen images it is logistic regression on numbers that describe them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CASES = 16  # images of each domain that are looked at
FEW = 8  # images of each domain below which nothing can be said
_INTENSITIES = (1, 5, 25, 50, 75, 95, 99)  # percentiles
_EDGES = (50, 75, 95, 99)
_PLACES = 4  # parts of each axis in the plane
_FOLDS = 8


def describe(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What a channel looks like: intensities, sharpness, noise, and what is bright where, in the plane of axes 1 and 2.

    Args:
        image: (slices, rows, columns), comparable between images: z-scores, or Hounsfield units.
        inside: of the same shape: voxels whose intensities count.

    Returns:
        (F,), F the same for every image.
    """
    import numpy as np

    drawn = image[inside] if inside.any() else image.ravel()
    features = [np.percentile(drawn, _INTENSITIES)]
    for axis in (1, 2):
        steps = np.abs(np.diff(image, axis=axis))
        bends = np.abs(np.diff(image, n=2, axis=axis))
        features.append(np.percentile(steps, _EDGES) if steps.size else np.zeros(len(_EDGES)))
        features.append([np.median(bends) if bends.size else 0.0])
    rows, columns = (np.linspace(0, size, _PLACES + 1).astype(int) for size in image.shape[1:])
    flat = image.mean(axis=0)
    features.append(
        [
            flat[top : max(bottom, top + 1), left : max(right, left + 1)].mean()
            for top, bottom in zip(rows[:-1], rows[1:])
            for left, right in zip(columns[:-1], columns[1:])
        ]
    )
    return np.concatenate(features)


def told_apart(source: np.ndarray, target: np.ndarray) -> float | None:
    """Share of images whose domain is named right by a classifier that was fitted without them, the mean of both domains.

    Half is chance level. None where a domain has fewer than FEW images.

    Args:
        source, target: (images, F), from `describe`.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(source), len(target)) < FEW:
        return None
    images, domains = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    held_out = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return float(balanced_accuracy_score(domains, cross_val_predict(classifier, images, domains, cv=held_out)))
