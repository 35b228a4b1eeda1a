"""Entropy maps: values, geometry, and probabilities that do not belong to their label file."""

from __future__ import annotations

import json
import math
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import stats
from skimage import io

from nnuda.errors import NnudaError
from nnuda.evaluation.entropy_maps import SUMMARY_NAME, entropy_map, uncertainty_folder
from nnuda.evaluation.reading import EvaluationError

DATASET_JSON = {"labels": {"background": 0, "liver": 1, "spleen": 2}, "file_ending": ".nii.gz"}
REGIONS_JSON = {
    "labels": {"background": 0, "both": [1, 2], "spleen": 2},
    "regions_class_order": [1, 2],
    "file_ending": ".nii.gz",
}
SHAPE = (4, 6, 5)
GEOMETRY = {"Spacing": (0.7, 0.8, 3.0), "Origin": (5.0, -7.0, 2.0), "Direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}


def class_probabilities(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1, 1, 1], SHAPE).transpose(3, 0, 1, 2).astype(np.float32)


def write_case(folder: Path, probabilities: np.ndarray, labels: np.ndarray, case: str = "a") -> None:
    """As nnUNetv2_predict --save_probabilities does with SimpleITK's reader."""
    np.savez_compressed(folder / f"{case}.npz", probabilities=probabilities)
    image = sitk.GetImageFromArray(labels.astype(np.uint8))
    for name, value in GEOMETRY.items():
        getattr(image, f"Set{name}")(value)
    sitk.WriteImage(image, str(folder / f"{case}.nii.gz"))


def test_nats_of_known_probabilities() -> None:
    probabilities = np.array([[1.0, 0.5, 1 / 3], [0.0, 0.5, 1 / 3], [0.0, 0.0, 1 / 3]])
    assert entropy_map(probabilities, regions=False) == pytest.approx([0, math.log(2), math.log(3)], abs=1e-6)
    assert entropy_map(np.array([[1.0, 0.5, 0.5], [0.0, 0.0, 0.5]]), regions=True) == pytest.approx(
        [0, math.log(2) / 2, math.log(2)], abs=1e-6
    )


def test_rounding_of_stored_probabilities_gives_no_nan() -> None:
    assert np.isfinite(entropy_map(np.array([[1.0000001], [-1e-8]], np.float32), regions=True)).all()


def test_a_map_lies_where_the_image_lies(tmp_path: Path) -> None:
    probabilities = class_probabilities()
    write_case(tmp_path, probabilities, probabilities.argmax(axis=0))
    result = uncertainty_folder(str(tmp_path), str(tmp_path / "out"), DATASET_JSON)
    image = sitk.ReadImage(str(tmp_path / "out" / "a_entropy.nii.gz"))
    for name, value in GEOMETRY.items():
        assert getattr(image, f"Get{name}")() == pytest.approx(value)
    expected = stats.entropy(probabilities.astype(np.float64), axis=0)
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), expected, atol=1e-5)
    summary = json.loads((tmp_path / "out" / SUMMARY_NAME).read_text())
    assert summary["unit"] == "nats" and summary["largest_possible"] == pytest.approx(math.log(3))
    assert summary["per_case"]["a"]["mean"] == pytest.approx(expected.mean(), abs=1e-5) and result["per_case"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_entropy.nii.gz", SUMMARY_NAME]


def test_regions_have_the_mean_of_binary_entropies(tmp_path: Path) -> None:
    both, spleen = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)
    labels = np.where(spleen > 0.5, 2, np.where(both > 0.5, 1, 0))
    write_case(tmp_path, np.stack([both, spleen]), labels)
    result = uncertainty_folder(str(tmp_path), str(tmp_path / "out"), REGIONS_JSON)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "a_entropy.nii.gz")))
    expected = sum(stats.entropy(np.stack([p, 1 - p]).astype(np.float64), axis=0) for p in (both, spleen)) / 2
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert result["largest_possible"] == pytest.approx(math.log(2))


@pytest.mark.parametrize("reader", ["NibabelIO", "NibabelIOWithReorient"])
def test_nibabel_s_readers(tmp_path: Path, reader: str) -> None:
    """The image runs right to left and front to back: the reorienting reader flips two of its axes."""
    affine = np.diag([-0.7, -0.8, 3.0, 1.0])
    affine[:3, 3] = 5, 7, 2
    probabilities = class_probabilities()
    flipped = probabilities[:, :, ::-1, ::-1] if reader == "NibabelIOWithReorient" else probabilities
    np.savez_compressed(tmp_path / "a.npz", probabilities=flipped)
    labels = probabilities.argmax(axis=0).astype(np.uint8).transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "a.nii.gz")
    uncertainty_folder(str(tmp_path), str(tmp_path / "out"), DATASET_JSON, plans={"image_reader_writer": reader})
    image = nibabel.load(tmp_path / "out" / "a_entropy.nii.gz")
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    np.testing.assert_allclose(image.get_fdata().transpose(2, 1, 0), stats.entropy(probabilities, axis=0), atol=1e-5)


def test_png_becomes_nifti_without_a_voxel_size(tmp_path: Path) -> None:
    probabilities = class_probabilities()[:, :1]
    np.savez_compressed(tmp_path / "a.npz", probabilities=probabilities)
    io.imsave(tmp_path / "a.png", probabilities.argmax(axis=0)[0].astype(np.uint8), check_contrast=False)
    uncertainty_folder(str(tmp_path), str(tmp_path / "out"), {**DATASET_JSON, "file_ending": ".png"})
    image = sitk.ReadImage(str(tmp_path / "out" / "a_entropy.nii.gz"))
    assert image.GetSize() == SHAPE[:0:-1] and image.GetSpacing() == (1, 1)


def test_probabilities_of_other_labels_are_refused(tmp_path: Path) -> None:
    write_case(tmp_path, class_probabilities(0), class_probabilities(1).argmax(axis=0))
    with pytest.raises(EvaluationError, match="Case a: .* of the voxels differ"):
        uncertainty_folder(str(tmp_path), str(tmp_path / "out"), DATASET_JSON)
    with pytest.raises(EvaluationError, match="shape .2, 4, 6, 5.*got .3, 4, 6, 5"):
        uncertainty_folder(str(tmp_path), str(tmp_path / "out"), REGIONS_JSON)


def test_no_probabilities(tmp_path: Path) -> None:
    write_case(tmp_path, class_probabilities(), class_probabilities().argmax(axis=0))
    (tmp_path / "a.npz").unlink()
    with pytest.raises(EvaluationError, match="--save_probabilities"):
        uncertainty_folder(str(tmp_path), str(tmp_path / "out"), DATASET_JSON)


def test_probabilities_without_a_label_file(tmp_path: Path) -> None:
    for case in "ab":
        write_case(tmp_path, class_probabilities(), class_probabilities().argmax(axis=0), case)
    (tmp_path / "b.nii.gz").unlink()
    with pytest.raises(EvaluationError, match=r"Expected a case.nii.gz beside each case.npz in .*; b have none"):
        uncertainty_folder(str(tmp_path), str(tmp_path / "out"), DATASET_JSON)


def with_value(value: float) -> np.ndarray:
    probabilities = class_probabilities()
    probabilities[0, 0, 0, 0] = value
    return probabilities


def npz(**arrays: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (npz(probabilities=with_value(np.nan)), "b.npz: .* some are NaN or infinite"),
        (npz(probabilities=with_value(np.inf)), "b.npz: .* some are NaN or infinite"),
        (npz(probabilities=with_value(7.0)), "b.npz: expected probabilities from 0 to 1; got .* to 7"),
        (npz(probabilities=class_probabilities() * 0.5), "b.npz: expected the classes' probabilities to add up to 1"),
        (
            npz(probabilities=class_probabilities().astype(complex)),
            "called probabilities; .* probabilities .complex128.",
        ),
        (npz(probabilities=with_value(-3.0)), "b.npz: expected probabilities from 0 to 1; got -3 to"),
        (
            npz(softmax=class_probabilities()),
            "b.npz: expected real numbers called probabilities; it holds softmax .float32.",
        ),
        (npz(probabilities=np.array("text")), "b.npz: .* it holds probabilities .str128."),
        (npz(probabilities=class_probabilities())[:200], "b.npz: expected probabilities .*damaged"),
        (b"", "b.npz: expected probabilities .*damaged"),
        (None, "1 of 2 have none: b"),
    ],
)
def test_probabilities_that_are_none_are_one_error_that_names_the_file(tmp_path: Path, content, says) -> None:
    probabilities = class_probabilities()
    for case in "ab":
        write_case(tmp_path, probabilities, probabilities.argmax(axis=0), case)
    uncertainty_folder(str(tmp_path), str(tmp_path / "out"), DATASET_JSON)
    (tmp_path / "b.npz").unlink()
    if content is not None:
        (tmp_path / "b.npz").write_bytes(content)
    with pytest.raises(NnudaError, match=f"(?s){says}"):
        uncertainty_folder(str(tmp_path), str(tmp_path / "out"), DATASET_JSON)


def test_maps_of_the_users_own_are_not_replaced(tmp_path: Path) -> None:
    probabilities = class_probabilities()
    write_case(tmp_path, probabilities, probabilities.argmax(axis=0))
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "a_entropy.nii.gz"
    mine.write_text("mine")
    with pytest.raises(NnudaError, match="-o: expected a new or empty folder, or one .*holds a_entropy.nii.gz"):
        uncertainty_folder(str(tmp_path), str(tmp_path / "out"), DATASET_JSON)
    assert mine.read_text() == "mine"
    for _ in range(2):  # with --force, and then beside its own maps
        uncertainty_folder(str(tmp_path), str(tmp_path / "out"), DATASET_JSON, force=True)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("place", [".", "imagesTr"])
def test_maps_do_not_lie_among_predictions_or_images(tmp_path: Path, place: str, force: bool) -> None:
    probabilities = class_probabilities()
    write_case(tmp_path, probabilities, probabilities.argmax(axis=0))
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "a_0000.nii.gz").write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NnudaError, match="-o: expected (a new or empty|another) folder"):
        uncertainty_folder(str(tmp_path), str(tmp_path / place), DATASET_JSON, force=force)
    assert sorted(tmp_path.rglob("*")) == before
