"""documentation/how-to/challenge/predict.py as a container runs it: none of nnU-Net's variables, no network."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from toy import TARGET

from nnuda.export.export_model import export_model
from nnuda.export.trained_model import find_model
from nnuda.export.verify import predict
from nnuda.predictor import load_predictor

SCRIPT = Path(__file__).parents[2] / "documentation" / "how-to" / "challenge" / "predict.py"
DIRECTION = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("challenge_predict", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_inputs(toy, folder: Path) -> None:
    """Two cases as challenges give them: .mha, no _0000, a turned and shifted patient."""
    folder.mkdir()
    for name, number in (("0a7f-patient_0012", 0), ("b", 1)):
        image = sitk.ReadImage(str(toy.raw / TARGET / "imagesTr" / f"case{number}_0000.nii.gz"))
        image.SetDirection(DIRECTION)
        image.SetOrigin((-12.5, 100.1, 1 / 3))
        sitk.WriteImage(image, str(folder / f"{name}.mha"))
    (folder / "readme.txt").write_text("not an image")


def check_outputs(inputs: Path, outputs: Path, expected: list[np.ndarray]) -> None:
    files = sorted(inputs.glob("*.mha"))
    assert sorted(path.name for path in outputs.iterdir()) == [path.name for path in files]
    for path, labels in zip(files, expected):
        image, output = (sitk.ReadImage(str(folder / path.name)) for folder in (inputs, outputs))
        assert output.GetOrigin() == image.GetOrigin() and output.GetSpacing() == image.GetSpacing()
        assert output.GetDirection() == image.GetDirection()
        assert labels.any() and np.array_equal(sitk.GetArrayFromImage(output), labels)


def labels_of(model, toy) -> list[np.ndarray]:
    predictor = load_predictor(model.folder, model.folds, model.checkpoint, torch.device("cpu"))
    return [predict(predictor, [str(toy.raw / TARGET / "imagesTr" / f"case{number}_0000.nii.gz")]) for number in (0, 1)]


def test_an_exported_model_in_an_environment_without_nnuda(toy_environment, trained, plain, tmp_path):
    toy = toy_environment
    model = find_model("501", "nnUDATrainerSourceOnly", "exported", "2d_toy", ["0", "1"], "checkpoint_final.pth")
    exported = export_model(model, None, torch.device("cpu"), str(tmp_path)).folder
    write_inputs(toy, tmp_path / "input")
    said = plain.execute(
        {}, SCRIPT, "-i", tmp_path / "input", "-o", tmp_path / "output", "-m", exported, "-device", "cpu"
    )
    assert "folds 0 1, on cpu" in said
    check_outputs(tmp_path / "input", tmp_path / "output", labels_of(model, toy))


def test_a_network_of_its_own_with_nnuda(toy_environment, uuds, tmp_path):
    toy = toy_environment
    write_inputs(toy, tmp_path / "input")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("nnUNet_", "nnUDA_"))}
    words = [SCRIPT, "-i", tmp_path / "input", "-o", tmp_path / "output", "-m", uuds, "-device", "cpu"]
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    model = find_model("501", "nnUDATrainerUUDS", "exported_uuds", "2d_toy", ["all"], "checkpoint_final.pth")
    check_outputs(tmp_path / "input", tmp_path / "output", labels_of(model, toy))


def find(script, tmp_path: Path, names: list[str], channels: int) -> dict[str, list[str]]:
    for name in names:
        (tmp_path / name).touch()
    cases = script.find_cases(tmp_path, script.CONVERTIBLE, channels)
    return {case: [path.name for path in files] for case, files in cases.items()}


@pytest.mark.parametrize(
    "names, channels, expected",
    [
        (["a_0000.nii.gz", "b_0000.nii.gz"], 1, {"a": ["a_0000.nii.gz"], "b": ["b_0000.nii.gz"]}),
        (["a_0000.mha", "a_0001.mha"], 1, {"a_0000": ["a_0000.mha"], "a_0001": ["a_0001.mha"]}),
        (["a_0001.mha", "a_0000.mha"], 2, {"a": ["a_0000.mha", "a_0001.mha"]}),
        (["uuid.mha", "note.json"], 1, {"uuid": ["uuid.mha"]}),
    ],
)
def test_cases_by_name(script, tmp_path, names, channels, expected):
    assert find(script, tmp_path, names, channels) == expected


@pytest.mark.parametrize(
    "names, channels, message",
    [
        (["a.png"], 1, "end with .mha or .nii.gz or .nii or .nrrd: 1 per case.*a.png"),
        (["a_0000.mha"], 2, "2 per case.*Found a has 1"),
        (["a.mha", "a.nii.gz"], 1, "Found a has 2"),
    ],
)
def test_other_files_stop_with_what_was_found(script, tmp_path, names, channels, message):
    with pytest.raises(SystemExit, match=message):
        find(script, tmp_path, names, channels)


def test_a_folder_without_a_model_stops(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["predict.py", "-m", str(tmp_path)])
    with pytest.raises(SystemExit, match="Expected a model in .*fold_x/checkpoint_final.pth"):
        script.main()
