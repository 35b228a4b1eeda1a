from __future__ import annotations

import pytest
import torch
from matplotlib import image

from nnuda.training.pictures import draw_class_cosines, draw_images


@pytest.mark.parametrize("shape", [(3, 2, 16, 20), (3, 1, 5, 16, 20)])
def test_one_row_an_image_and_one_column_a_name(tmp_path, shape):
    ramp = torch.linspace(0, 1, 20).expand(shape)
    path = tmp_path / "folder" / "picture.png"
    draw_images({"flat": torch.zeros(shape, dtype=torch.float16), "ramp": ramp}, str(path))
    drawn = image.imread(path)[..., :3].mean(2)
    height, width = drawn.shape
    assert height > width  # three rows, two columns
    right = drawn[height // 2, width // 2 :]
    assert right.min() < 0.1 and (right[right < 0.95].max() > 0.8)


def test_a_class_without_a_vector_is_left_blank(tmp_path):
    vectors, valid = torch.eye(3), torch.ones(3, dtype=torch.bool)
    path = tmp_path / "folder" / "picture.png"
    blank = []
    for seen in (valid, torch.tensor([True, False, True])):
        draw_class_cosines(["a", "b", "c"], {"text": (vectors, valid), "target": (vectors, seen)}, False, str(path))
        drawn = image.imread(path)[..., :3]
        blank.append((drawn == 1).all(2).mean())
    assert 0 < blank[0] < blank[1] < 1
