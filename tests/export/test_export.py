from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from toy import SOURCE, TARGET

from nnuda.errors import NnudaError
from nnuda.export.export_model import export_model
from nnuda.export.trained_model import ExportError, TrainedModel, find_model
from nnuda.export.verify import find_cases

EXPORTED = "nnUNetTrainer__exported_SourceOnly_toDataset502_ToyTarget__2d_toy"
FLIPPED = """
from nnuda.training.trainer import nnUDATrainer
class nnUDATrainerFlipped(nnUDATrainer):
    @staticmethod
    def build_network_architecture(plans_manager, *arguments, **options):
        network = nnUDATrainer.build_network_architecture(plans_manager, *arguments, **options)
        network.register_forward_hook(lambda module, inputs, logits: -logits)
        return network
"""


def find(folder: Path, *folds: str) -> TrainedModel:
    trainer, plans_name, configuration = folder.name.split("__")
    return find_model(
        folder.parent.name, trainer, plans_name, configuration, list(folds or ["all"]), "checkpoint_final.pth"
    )


def export(folder: Path, results: Path, *folds: str, images: str | None = None):
    return export_model(find(folder, *folds), images, torch.device("cpu"), str(results))


def load(folder: Path, fold: str = "all") -> dict:
    return torch.load(folder / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)


def equal(weights: dict, expected: dict) -> bool:
    return weights.keys() == expected.keys() and all(torch.equal(weights[name], expected[name]) for name in expected)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_written_is_plain_nnunets(toy_environment, trained, tmp_path):
    exported = export(trained, tmp_path)
    folder = tmp_path / SOURCE / EXPORTED
    assert Path(exported.folder) == folder and exported.missing == []
    assert [path.name for path in folder.parent.iterdir()] == [EXPORTED]
    [case] = exported.checks
    assert case.differing == 0 and case.foreground > 0 and Path(case.files[0]).parts[-3] == TARGET

    plans, before = (json.loads((path / "plans.json").read_text()) for path in (folder, trained))
    assert plans == {
        **{key: value for key, value in before.items() if key != "domain_adaptation"},
        "plans_name": "exported_SourceOnly_toDataset502_ToyTarget",
    }
    checkpoint, original = load(folder), load(trained)
    assert checkpoint.keys() == {"network_weights", "trainer_name", "init_args", "inference_allowed_mirroring_axes"}
    assert checkpoint["trainer_name"] == "nnUNetTrainer" and checkpoint["init_args"]["plans"] == plans
    assert checkpoint["inference_allowed_mirroring_axes"] == original["inference_allowed_mirroring_axes"]
    sizes = [(path / "fold_all" / "checkpoint_final.pth").stat().st_size for path in (folder, trained)]
    assert sizes[0] < sizes[1] / 2


def test_with_predict_with_teacher_the_weights_are_the_teachers(toy_environment, trained, tmp_path):
    weights = load(Path(export(trained, tmp_path).folder))["network_weights"]
    state = load(trained)["nnuda"]
    teacher = {name.removeprefix("network."): value for name, value in state["teacher"].items()}
    assert equal(weights, {name: teacher[name] for name in weights}) and not equal(weights, state["student"])


def test_several_folds_and_what_the_zip_takes(toy_environment, trained, tmp_path):
    crossval = trained / "crossval_results_folds_0_1"
    crossval.mkdir()
    (crossval / "postprocessing.pkl").write_bytes(b"of the source")
    try:
        exported = export(trained, tmp_path, "0", "1", images=str(toy_environment.raw / SOURCE / "imagesTr"))
    finally:
        shutil.rmtree(crossval)
    folder = Path(exported.folder)
    assert len(exported.checks) == 4
    for fold in ("0", "1"):
        assert equal(load(folder, fold)["network_weights"], load(trained, fold)["network_weights"])
    of_fold = {"checkpoint_final.pth", "progress.png", "validation/summary.json"}
    assert hashes(folder).keys() == {
        "plans.json",
        "dataset.json",
        "dataset_fingerprint.json",
        "crossval_results_folds_0_1/postprocessing.pkl",
        *(f"fold_{fold}/{name}" for fold in (0, 1) for name in of_fold),
    }


def test_what_training_did_not_leave_is_said(toy_environment, trained, tmp_path):
    summary = trained / "fold_0" / "validation" / "summary.json"
    content = summary.read_bytes()
    summary.unlink()
    try:
        assert export(trained, tmp_path, "0").missing == ["fold_0/validation/summary.json"]
    finally:
        summary.write_bytes(content)


def test_an_existing_folder_is_refused_and_a_model_beside_stays(toy_environment, trained):
    toy = toy_environment
    plans = json.loads((toy.preprocessed / "nnUNetPlans.json").read_text())
    dataset_json = json.loads((toy.preprocessed / "dataset.json").read_text())
    stock = nnUNetTrainer({**plans, "continue_training": False}, "2d_toy", "all", dataset_json, torch.device("cpu"))
    stock.initialize()
    stock.save_checkpoint(f"{stock.output_folder}/checkpoint_final.pth")
    beside = Path(stock.output_folder_base)
    assert beside == toy.results / "nnUNetTrainer__nnUNetPlans__2d_toy"
    before = hashes(beside), hashes(trained)

    folder = Path(export_model(find(trained), None, torch.device("cpu")).folder)
    try:
        assert folder == toy.results / EXPORTED
        written = hashes(folder)
        with pytest.raises(ExportError, match="exists and is not overwritten"):
            export_model(find(trained), None, torch.device("cpu"))
        assert hashes(folder) == written and (hashes(beside), hashes(trained)) == before
    finally:
        shutil.rmtree(folder)


def test_a_network_of_its_own_is_refused(toy_environment, uuds, tmp_path):
    with pytest.raises(ExportError, match="nnUDATrainerUUDS predicts with a network of its own.*submit-to-a-challenge"):
        export(uuds, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_labels_leave_no_folder(toy_environment, trained, tmp_path, monkeypatch):
    """A trainer whose network has nnU-Net's weights, and does something else with them."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "nnUDATrainerFlipped.py").write_text(FLIPPED)
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "trainers"))
    folder = trained.parent / "nnUDATrainerFlipped__exported__2d_toy"
    shutil.copytree(trained, folder)
    torch.save({**load(folder), "trainer_name": "nnUDATrainerFlipped"}, folder / "fold_all" / "checkpoint_final.pth")
    try:
        with pytest.raises(ExportError, match=r"labels \d+ of the \d+ voxels .* otherwise than nnUDATrainerFlipped"):
            export(folder, tmp_path / "results")
    finally:
        shutil.rmtree(folder)
    assert not list((tmp_path / "results" / SOURCE).iterdir())


def test_the_images_to_compare_on(toy_environment, trained, tmp_path, monkeypatch):
    toy, model = toy_environment, find(trained)
    images = toy.raw / SOURCE / "imagesTr"
    assert find_cases(model, str(images)).keys() == {"case0", "case1", "case2", "case3"}
    assert find_cases(model, str(images / "case2_0000.nii.gz")) == {"case2": [str(images / "case2_0000.nii.gz")]}
    single = tmp_path / "image.nii.gz"
    shutil.copy(images / "case2_0000.nii.gz", single)
    assert find_cases(model, str(single)) == {"image.nii.gz": [str(single)]}
    assert find_cases(model, None) == {"case0": [str(toy.raw / TARGET / "imagesTr" / "case0_0000.nii.gz")]}
    for given in (str(tmp_path / "none.nii.gz"), str(tmp_path), str(trained / "plans.json")):
        with pytest.raises(NnudaError, match="-i|No images in"):
            find_cases(model, given)

    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    with pytest.raises(ExportError, match="Name one with -i"):
        find_cases(model, None)
    (tmp_path / SOURCE).symlink_to(toy.raw / SOURCE)
    assert find_cases(model, None) == {"case0": [str(tmp_path / SOURCE / "imagesTr" / "case0_0000.nii.gz")]}
