"""Entropy maps of nnU-Net's saved probabilities. No labels are needed."""

from __future__ import annotations

import os

import nibabel
import numpy as np
import SimpleITK as sitk
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from tqdm import tqdm

from nnuda.evaluation.conventions import ENTROPY_DEFINITIONS
from nnuda.evaluation.reading import EvaluationError, find_reader, read_files
from nnuda.evaluation.scores import find_cases, first_names, label_manager
from nnuda.files import check_output, check_own_folder, read_arrays, replacing, write_json
from nnuda.losses.entropy import entropy, largest_entropy

ENDING = "_entropy.nii.gz"
SLACK = 1e-3  # that half precision may leave 0 to 1 by
MARK = b'"largest_possible": '  # how a summary of ours begins
SUMMARY_NAME = "nnuda_entropy.json"


def entropy_map(probabilities: np.ndarray, regions: bool) -> np.ndarray:
    """Entropy of each voxel, in nats, as ENTROPY_DEFINITIONS says.

    Args:
        probabilities: (C,*S), of classes that sum to 1, or of C regions.
        regions: which of both.

    Returns:
        (*S), float32.
    """
    return entropy(torch.from_numpy(np.clip(probabilities, 0, 1, dtype=np.float32)), regions, dim=0).numpy()


def read_probabilities(
    folder: str, case: str, ending: str, reader: type[BaseReaderWriter], manager: LabelManager
) -> tuple[np.ndarray, dict]:
    """Probabilities (C,*S), and what the reader knows of the geometry of the label file that belongs to them.

    Raises:
        FileError: the file is damaged.
        EvaluationError: they are no probabilities, or do not belong to that label file.
    """
    path, label_file = (os.path.join(folder, case + end) for end in (".npz", ending))
    again = "Predict it anew with nnUNetv2_predict --save_probabilities."
    arrays = read_arrays(path, "probabilities", again)
    if "probabilities" not in arrays or arrays["probabilities"].dtype.kind not in "fiu":
        held = ", ".join(f"{name} ({values.dtype.name})" for name, values in arrays.items()) or "nothing"
        raise EvaluationError(f"{path}: expected real numbers called probabilities; it holds {held}. {again}")
    probabilities = arrays["probabilities"].astype(np.float32)
    if not np.isfinite(probabilities).all():
        raise EvaluationError(f"{path}: expected probabilities; some are NaN or infinite. {again}")
    if probabilities.size and (probabilities.min() < -SLACK or probabilities.max() > 1 + SLACK):
        raise EvaluationError(
            f"{path}: expected probabilities from 0 to 1; got {probabilities.min():.4g} to {probabilities.max():.4g}. "
            f"{again}"
        )
    slack = SLACK * len(probabilities) if probabilities.ndim > 1 else np.inf
    if not manager.has_regions and np.any(np.abs(probabilities.sum(0) - 1) > slack):
        raise EvaluationError(f"{path}: expected the classes' probabilities to add up to 1; they do not. {again}")
    labels, properties = read_files(lambda: reader().read_seg(label_file), [label_file], "a label file")
    heads = manager.num_segmentation_heads
    if probabilities.shape != (heads, *labels.shape[1:]):
        raise EvaluationError(
            f"Case {case}: expected probabilities of shape {(heads, *labels.shape[1:])}, as "
            f"dataset.json and the label file have it; got {probabilities.shape}. Predict it again."
        )
    # Saved probabilities may be newer or older than the label file, or stored in another order of axes.
    differing = np.mean(manager.convert_probabilities_to_segmentation(probabilities) != labels[0])
    if differing > 1e-3:
        raise EvaluationError(
            f"Case {case}: expected the labels that its probabilities lead to; {differing:.1%} of "
            "the voxels differ. Postprocessed or ensembled labels do not belong to the probabilities "
            "beside them: use the folder that nnUNetv2_predict --save_probabilities wrote."
        )
    return probabilities, properties


def write_map(values: np.ndarray, properties: dict, path: str) -> None:
    """Writes a map as NIfTI on the grid of the image, never half a file.

    Args:
        values: (*S) in the order of axes of nnU-Net's reader.
        properties: what that reader returned. Formats without a header get a voxel size of 1.
        path: ends with .nii.gz.
    """
    with replacing(path, ".nii.gz") as aside:
        if "nibabel_stuff" in properties:
            nibabel.save(_nibabel_image(values, properties["nibabel_stuff"]), aside)
        else:
            sitk.WriteImage(_itk_image(values, properties.get("sitk_stuff")), aside, True)


def _nibabel_image(values: np.ndarray, header: dict) -> nibabel.Nifti1Image:
    values, original = values.transpose(2, 1, 0), header["original_affine"]
    if "reoriented_affine" not in header:
        return nibabel.Nifti1Image(values, original)
    to_original = ornt_transform(axcodes2ornt("RAS"), io_orientation(original))
    return nibabel.Nifti1Image(values, header["reoriented_affine"]).as_reoriented(to_original)


def _itk_image(values: np.ndarray, header: dict | None) -> sitk.Image:
    if header is None:
        return sitk.GetImageFromArray(values.squeeze())
    image = sitk.GetImageFromArray(values[0] if len(header["spacing"]) == 2 else values)
    image.SetSpacing(header["spacing"])
    image.SetOrigin(header["origin"])
    image.SetDirection(header["direction"])
    return sitk.DICOMOrient(image, header["original_orientation"]) if "original_orientation" in header else image


def _check_place(folder: str, output: str, force: bool) -> None:
    """Stop where the maps could not be written, or would lie among other files than maps."""
    if os.path.realpath(output) == os.path.realpath(folder):
        raise EvaluationError("-o: expected another folder than that of the predictions. Name a new one.")
    check_output(os.path.join(output, SUMMARY_NAME), "-o", MARK, force)
    maps_alone = os.path.isdir(output) and all(name.endswith((ENDING, SUMMARY_NAME)) for name in os.listdir(output))
    if not (force and maps_alone):
        check_own_folder(output, "-o", SUMMARY_NAME)


def uncertainty_folder(
    folder: str,
    output: str,
    dataset_json: dict,
    plans: dict | None = None,
    progress: bool = False,
    force: bool = False,
) -> dict:
    """Writes an entropy map for each case of a folder that nnUNetv2_predict --save_probabilities wrote.

    Args:
        folder: label files and a `case.npz` for each.
        output: folder for `case_entropy.nii.gz` and nnuda_entropy.json.
        dataset_json: content of the dataset.json.
        plans: content of a plans.json, where it should decide the reader as it does in nnU-Net.
        progress: show a progress bar.
        force: replace maps of another one's.

    Returns:
        The content of nnuda_entropy.json: "definition", "unit", "largest_possible", "per_case" with the mean over the
        image, the mean over the voxels that are predicted as foreground (None without any) and the maximum.

    Raises:
        EvaluationError: cases without probabilities, or with some that do not belong to their label file.
        FileError: a damaged file, or a place that cannot be written to.
    """
    ending = dataset_json["file_ending"]
    found = find_cases(folder, ending, "prediction")
    cases = sorted(
        case for case in found if not (case + ending).endswith(ENDING)
    )  # maps of an earlier time beside them
    missing = [case for case in cases if not os.path.isfile(os.path.join(folder, f"{case}.npz"))]
    if missing:
        raise EvaluationError(
            f"Expected a case.npz beside each case{ending} in {folder}; {len(missing)} of {len(cases)} have none: "
            f"{first_names(missing)}. Predict them with nnUNetv2_predict --save_probabilities, or move them away."
        )
    alone = sorted({file[:-4] for file in os.listdir(folder) if file.endswith(".npz")} - set(cases))
    if alone:
        raise EvaluationError(
            f"Expected a case{ending} beside each case.npz in {folder}; {first_names(alone)} have none. Predict them "
            "again, or move them away."
        )
    manager = label_manager(dataset_json)
    reader = find_reader(dataset_json, plans, os.path.join(folder, cases[0] + ending))
    _check_place(folder, output, force)
    os.makedirs(output, exist_ok=True)
    per_case = {}
    for case in tqdm(cases, desc="Entropy", unit="case", disable=not progress):
        probabilities, properties = read_probabilities(folder, case, ending, reader, manager)
        values = entropy_map(probabilities, manager.has_regions)
        write_map(values, properties, os.path.join(output, case + ENDING))
        foreground = manager.convert_probabilities_to_segmentation(probabilities) > 0
        per_case[case] = {
            "mean": float(values.mean()),
            "max": float(values.max()),
            "foreground_mean": float(values[foreground].mean()) if foreground.any() else None,
        }
    largest = largest_entropy(manager.num_segmentation_heads, manager.has_regions)
    result = {
        "definition": ENTROPY_DEFINITIONS[manager.has_regions],
        "unit": "nats",
        "largest_possible": largest,
        "prediction_folder": os.path.abspath(folder),
        "per_case": per_case,
    }
    write_json(result, os.path.join(os.path.abspath(output), SUMMARY_NAME))
    return result
