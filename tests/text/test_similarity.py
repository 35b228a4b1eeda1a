from __future__ import annotations

import numpy as np
import pytest
import skimage.io

from nnuda.text.similarity import draw_gram, gram, loss_of_equal_classes, off_diagonal


def alike(cosine: float, k: int = 5) -> np.ndarray:
    matrix = np.full((k, k), cosine)
    np.fill_diagonal(matrix, 1)
    return np.linalg.cholesky(matrix)


def test_gram_is_of_cosines():
    matrix = gram(3 * alike(0.8))
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(off_diagonal(matrix), 0.8)
    np.testing.assert_allclose(off_diagonal(gram(alike(0.8), centered=True)), -1 / 4)


@pytest.mark.parametrize(
    "cosine, equal, orthogonal", [(0.7, 0.0122, 0.4188), (0.8, 0.0045, 0.4700), (0.9, 0.0009, 0.5144)]
)
def test_what_collapse_would_score(cosine, equal, orthogonal):
    assert loss_of_equal_classes(gram(alike(cosine))) == pytest.approx((equal, orthogonal), abs=1e-4)


def test_the_picture(tmp_path):
    file = tmp_path / "gram.png"
    draw_gram(tuple("abcde"), {"one": gram(alike(0.8)), "two": gram(alike(0.8), True)}, "title", str(file))
    assert skimage.io.imread(file).shape[1] > 400
