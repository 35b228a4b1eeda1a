from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nnuda.planning.told_apart import FEW, describe, told_apart


def images(seed: int, number: int, sharp: bool = False, shape: tuple[int, ...] = (3, 24, 24)) -> list[np.ndarray]:
    """Noise, smooth or sharp: the same values in every image, in another order."""
    rng = np.random.default_rng(seed)
    values = np.sort(rng.standard_normal(int(np.prod(shape))))
    made = []
    for _ in range(number):
        field = rng.standard_normal(shape)
        order = np.argsort((field if sharp else gaussian_filter(field, (0, 2, 2))).ravel())
        image = np.empty_like(values)
        image[order] = values
        made.append(image.reshape(shape))
    return made


def described(drawn: list[np.ndarray]) -> np.ndarray:
    return np.array([describe(image, np.ones(image.shape, bool)) for image in drawn])


def test_images_with_the_same_histogram_are_told_apart_by_their_looks():
    smooth, sharp = images(0, 12), images(0, 12, sharp=True)
    assert np.array_equal(np.sort(smooth[0].ravel()), np.sort(sharp[0].ravel())), "no histogram tells"
    assert told_apart(described(smooth), described(sharp)) == 1


def test_one_set_in_halves_is_named_at_chance_level():
    found = [told_apart(described(drawn[::2]), described(drawn[1::2])) for drawn in (images(s, 24) for s in range(8))]
    assert 0.35 < np.mean(found) < 0.65 and max(found) < 0.8


def test_both_domains_count_alike():
    """Thirty images of one domain and eight of the other, all the same: naming the larger one is worth a half."""
    assert told_apart(np.zeros((30, 5)), np.zeros((FEW, 5))) == pytest.approx(0.5)


def test_few_images_say_nothing():
    drawn = described(images(0, FEW))
    assert told_apart(drawn, drawn[:-1]) is None and told_apart(drawn, drawn) is not None


def test_the_numbers_of_a_ramp():
    """By hand: a ramp of 1 a column from 0 to 7."""
    ramp = np.broadcast_to(np.arange(8.0), (2, 8, 8))
    intensities, rows, columns, places = np.split(describe(ramp, np.ones(ramp.shape, bool)), [7, 12, 17])
    assert (intensities[[0, 3, 6]] == [0, 3.5, 7]).all()
    assert (rows == 0).all(), "no step from row to row"
    assert (columns == [1, 1, 1, 1, 0]).all(), "steps of 1, no bend"
    assert (places.reshape(4, 4) == [0.5, 2.5, 4.5, 6.5]).all()


def test_what_lies_outside_does_not_count_among_the_intensities():
    image = np.zeros((1, 8, 8))
    image[:, :4] = 5
    assert (describe(image, image > 0)[:7] == 5).all() and np.median(describe(image, image >= 0)[:7]) == 2.5


@pytest.mark.parametrize("shape", [(1, 3, 40), (1, 1, 1), (9, 17, 2)])
def test_small_images_give_as_many_numbers(shape):
    image = np.random.default_rng(0).standard_normal(shape)
    found = describe(image, np.ones(shape, bool))
    assert found.shape == describe(np.zeros((2, 30, 30)), np.ones((2, 30, 30), bool)).shape and np.isfinite(found).all()
