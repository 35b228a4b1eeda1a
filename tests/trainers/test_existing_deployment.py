"""An existing deployment: a stock-trained model goes in, and at 0 steps the same labels come out."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import SimpleITK as sitk
from harness import make_trainer
from toy import SOURCE, TARGET, run


@pytest.fixture(scope="module")
def stock_model(toy) -> Path:
    """A plain nnU-Net trained on the source by the stock command, before nnuda comes to it."""
    toy.train("nnUNetTrainer_1epoch", "2d_toy", "nnUNetPlans")
    return toy.results / "nnUNetTrainer_1epoch__nnUNetPlans__2d_toy"


@pytest.fixture(scope="module")
def images(toy, tmp_path_factory) -> Path:
    """Target images, and one of the source: there a stock model is sure to find something."""
    folder = tmp_path_factory.mktemp("images")
    shutil.copytree(toy.raw / TARGET / "imagesTr", folder, dirs_exist_ok=True)
    shutil.copy(toy.raw / SOURCE / "imagesTr/case0_0000.nii.gz", folder / "source_0000.nii.gz")
    return folder


def predict(toy, trainer: str, plans_name: str, images: Path, folder: Path) -> dict[str, bytes]:
    run(
        [
            "nnUNetv2_predict",
            "-i",
            str(images),
            "-o",
            str(folder),
            "-d",
            "501",
            "-c",
            "2d_toy",
            "-f",
            "all",
            "-tr",
            trainer,
            "-p",
            plans_name,
            "-device",
            "cpu",
            "-npp",
            "1",
            "-nps",
            "1",
        ],
        toy.environment,
    )
    return {path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))).tobytes() for path in folder.glob("*.nii.gz")}


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("trainer", ["nnUDATrainerSourceOnly", "nnUDATrainerUUDS"])
def test_at_zero_steps_the_labels_are_the_stock_models(toy_environment, stock_model, images, trainer, tmp_path):
    toy, before = toy_environment, hashes(stock_model)
    made = make_trainer(
        toy, trainer, "2d_toy", "from_stock", {"training.init_from": str(stock_model / "fold_all"), "teacher.weight": 1}
    )
    made.on_train_start()
    made.save_checkpoint(f"{made.output_folder}/checkpoint_final.pth")
    # nnUNetv2_predict only asks for the results folder
    shutil.copy(toy.preprocessed / "nnUNetPlans.json", toy.preprocessed / "from_stock.json")

    stock = predict(toy, "nnUNetTrainer_1epoch", "nnUNetPlans", images, tmp_path / "stock")
    assert len(stock) == 5 and any(any(labels) for labels in stock.values())
    assert predict(toy, trainer, "from_stock", images, tmp_path / "ours") == stock
    assert hashes(stock_model) == before


def test_a_missing_model_stops_before_anything_is_written(toy_environment, tmp_path):
    with pytest.raises(FileNotFoundError, match="training.init_from"):
        make_trainer(
            toy_environment,
            "nnUDATrainerSourceOnly",
            "2d_toy",
            "from_nowhere",
            {"training.init_from": str(tmp_path / "fold_0")},
        )
    assert not (toy_environment.results / "nnUDATrainerSourceOnly__from_nowhere__2d_toy").exists()
