from __future__ import annotations

import numpy as np

from nnuda.planning.body_mask import body_mask


def phantom() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A thorax: soft tissue around a lung, on a table, in air, in padding."""
    z, y, x = np.mgrid[:10, :60, :60]
    radius = np.hypot(y - 28, x - 30)
    parts = {
        "padding": np.hypot(y - 30, x - 30) > 29,
        "body": radius < 20,
        "lung": (radius < 8) & (z > 0) & (z < 9),
        "table": (y > 52) & (y < 55),
    }
    image = np.full(z.shape, -1000.0, np.float32)
    image[parts["body"]] = 40
    image[parts["lung"]] = -850
    image[parts["table"]] = -200
    image[parts["padding"]] = -2000
    return image, parts


def test_body_with_its_lung_without_table_air_and_padding():
    image, parts = phantom()
    assert np.array_equal(body_mask(image), parts["body"])


def test_the_floor_value_is_left_out_inside_the_body():
    image, parts = phantom()
    image[parts["lung"]] = image.min()
    assert np.array_equal(body_mask(image), parts["body"] & ~parts["lung"])


def test_without_a_body_everything_above_the_floor():
    image = np.full((3, 8, 8), -1000.0, np.float32)
    image[:, 2:4] = -700
    assert np.array_equal(body_mask(image), image > -1000)


def test_a_constant_image_is_all_body():
    assert body_mask(np.zeros((2, 4, 4), np.float32)).all()
    assert body_mask(np.full((2, 4, 4), -900, np.float32)).all()
