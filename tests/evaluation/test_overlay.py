"""Pictures of outlines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.colors import to_rgb
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from skimage import io

from nnuda.evaluation.overlay import (
    COLOURS,
    Slice,
    choose_slice,
    class_colours,
    crop_to_foreground,
    draw_overlays,
    read_slice,
)
from nnuda.evaluation.reading import EvaluationError

DATASET_JSON = {"labels": {"background": 0, "disc": 1, "ring": 2}, "file_ending": ".png"}


def labels_2d() -> np.ndarray:
    labels = np.zeros((64, 80), np.uint8)
    labels[20:40, 30:50], labels[25:35, 35:45] = 2, 1
    return labels


def write_volume(path: Path, array: np.ndarray, spacing: tuple[float, ...]) -> str:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return str(path)


@pytest.fixture
def files_2d(tmp_path: Path) -> tuple[dict, dict]:
    images, references, predictions = {}, {}, {}
    for case in ("a", "b", "c"):
        shifted = np.roll(labels_2d(), 4, axis=0)
        for files, array in ((images, labels_2d() * 60), (references, labels_2d()), (predictions, shifted)):
            files[case] = str(tmp_path / f"{case}_{len(list(tmp_path.iterdir()))}.png")
            io.imsave(files[case], array, check_contrast=False)
    return images, {"reference": references, "adapted": predictions}


def colour_area(picture: np.ndarray, colour: str) -> int:
    return int((np.abs(picture[..., :3] / 255 - to_rgb(colour)).max(-1) < 0.05).sum())


def test_outlines_of_each_class_are_drawn(files_2d: tuple[dict, dict], tmp_path: Path) -> None:
    output = tmp_path / "overlay.png"
    assert draw_overlays(*files_2d, str(output), DATASET_JSON, max_cases=2) == ["a", "b"]
    picture = io.imread(output)
    drawn = [colour_area(picture, colour) for colour in COLOURS[:3]]
    assert min(drawn[:2]) > 300 and drawn[2] == 0
    assert not list(tmp_path.glob("*.tmp"))


def test_an_empty_prediction_is_drawn_as_none(files_2d: tuple[dict, dict], tmp_path: Path) -> None:
    images, contours = files_2d
    io.imsave(contours["adapted"]["a"], np.zeros((64, 80), np.uint8), check_contrast=False)
    areas = []
    for case in ("a", "b"):
        draw_overlays({case: images[case]}, contours, str(tmp_path / "o.png"), DATASET_JSON)
        areas.append(colour_area(io.imread(tmp_path / "o.png"), COLOURS[0]))
    assert 0 < areas[0] < areas[1]


def test_a_volume_is_cut_across_its_coarse_axis(tmp_path: Path) -> None:
    labels = np.zeros((10, 12, 4), np.uint8)  # z, y, x with x the coarse one
    labels[2:6, 3:9, 2], labels[3, 3, 1] = 1, 1
    array = np.arange(480, dtype=np.float32).reshape(10, 12, 4)
    image = write_volume(tmp_path / "image.nii.gz", array, (6.0, 1.0, 2.0))
    label = write_volume(tmp_path / "label.nii.gz", labels, (6.0, 1.0, 2.0))
    view = read_slice(image, {"reference": label}, SimpleITKIO, [0, 1, 2])
    np.testing.assert_array_equal(view.labels["reference"], labels[:, :, 2])
    assert view.image[0, 0] == 2 and view.aspect == pytest.approx(2.0)
    assert read_slice(image, {"reference": label}, SimpleITKIO, [0, 1, 2], choice=1).labels["reference"].sum() == 1
    with pytest.raises(EvaluationError, match="between 0 and 3"):
        read_slice(image, {"reference": label}, SimpleITKIO, [0, 1, 2], choice=4)


def test_without_foreground_the_middle_slice_is_shown() -> None:
    assert choose_slice(np.zeros((9, 4, 4), int), 0, "largest foreground") == 4


def test_the_crop_keeps_every_outline() -> None:
    labels = {"a": np.zeros((50, 60), int), "b": np.zeros((50, 60), int)}
    labels["a"][3, 10], labels["b"][20, 40] = 1, 2
    view = crop_to_foreground(Slice(np.zeros((50, 60)), labels, 1.0))
    assert (view.labels["a"] > 0).sum() == (view.labels["b"] > 0).sum() == 1
    assert view.image.shape == view.labels["a"].shape < (50, 60)


def test_labels_on_another_grid_are_refused(files_2d: tuple[dict, dict], tmp_path: Path) -> None:
    images, contours = files_2d
    io.imsave(contours["adapted"]["a"], np.zeros((64, 81), np.uint8), check_contrast=False)
    with pytest.raises(EvaluationError, match="image's shape"):
        draw_overlays(images, contours, str(tmp_path / "o.png"), DATASET_JSON)


def test_cases_need_all_files(files_2d: tuple[dict, dict], tmp_path: Path) -> None:
    images, contours = files_2d
    del contours["adapted"]["a"]
    assert draw_overlays(images, contours, str(tmp_path / "o.png"), DATASET_JSON) == ["b", "c"]
    with pytest.raises(EvaluationError, match="at least one case"):
        draw_overlays(images, {**contours, "other": {}}, str(tmp_path / "o.png"), DATASET_JSON)


def test_colours_differ_however_many_classes() -> None:
    assert len(set(class_colours([str(i) for i in range(20)]).values())) == 20
