"""The drawn domains."""

from __future__ import annotations

import numpy as np
import pytest

from nnuda.demo.images import (
    AIR,
    BODY,
    KIDNEY,
    LABEL_OF_TISSUE,
    LIVER,
    SIZE,
    SOURCE,
    TARGET,
    VESSEL,
    Contrast,
    draw_case,
    draw_tissues,
    show,
)


@pytest.mark.parametrize("seed", range(20))
def test_every_anatomy_has_every_tissue_inside_the_body(seed: int) -> None:
    tissues = draw_tissues(np.random.default_rng(seed))
    assert tissues.shape == (SIZE, SIZE)
    areas = np.bincount(tissues.ravel(), minlength=5)
    assert areas[LIVER] > 150 and areas[KIDNEY] > 50 and areas[VESSEL] > 15 and areas[BODY] > 800 and areas[AIR] > 500


def test_the_same_seed_draws_the_same_case() -> None:
    one, same, other = (draw_case(SOURCE, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one[1] != other[1]).any()


def test_without_texture_noise_and_bias_a_tissue_has_its_intensity() -> None:
    plain = Contrast(tissues=(0.0, 0.2, 0.4, 0.6, 0.8), texture=0, noise=0, bias=0)
    tissues = np.full((SIZE, SIZE), LIVER)
    assert np.unique(show(tissues, plain, np.random.default_rng(0))).tolist() == [153]


def test_the_scanners_differ_in_what_they_show_not_in_what_is_there() -> None:
    tissues = draw_tissues(np.random.default_rng(0))
    a, b = (show(tissues, contrast, np.random.default_rng(1)).astype(float) for contrast in (SOURCE, TARGET))
    orders = [
        np.argsort([image[tissues == tissue].mean() for tissue in (BODY, VESSEL, LIVER, KIDNEY)]) for image in (a, b)
    ]
    assert orders[0].tolist() != orders[1].tolist()
    assert LABEL_OF_TISSUE[tissues].max() == 2
