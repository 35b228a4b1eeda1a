"""The road through the commands: export, zip, install elsewhere, predict in an environment without nnuda."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from toy import SOURCE, TARGET, run

from nnuda.cli.export import main

NAME = "exported_SourceOnly_toDataset502_ToyTarget"


def labels(folder: Path) -> dict[str, bytes]:
    return {path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))).tobytes() for path in folder.glob("*.nii.gz")}


def test_the_exported_model_predicts_the_same_without_nnuda(toy, trained, plain, tmp_path):
    images, archive = toy.raw / TARGET / "imagesTr", tmp_path / "model.zip"
    folds = ["-d", "501", "-c", "2d_toy", "-f", "0", "1"]
    adapted = [*folds, "-p", "exported", "-tr", "nnUDATrainerSourceOnly"]
    sequential = ["-device", "cpu", "-npp", "0", "-nps", "0"]
    said = run(["nnUDA_export", *adapted, "-device", "cpu", "-o", str(tmp_path)], toy.environment)
    assert f"Identical labels: {images / 'case0_0000.nii.gz'}" in said and "NOTE" not in said
    run(
        ["nnUNetv2_export_model_to_zip", *folds, "-p", NAME, "-o", str(archive)],
        {**toy.environment, "nnUNet_results": str(tmp_path)},
    )
    run(["nnUNetv2_predict", "-i", str(images), "-o", str(tmp_path / "before"), *adapted, *sequential], toy.environment)

    find = "from importlib.util import find_spec; print(find_spec('nnuda') is None, find_spec('nnunetv2') is None)"
    assert plain.execute({}, "-c", find).split() == ["True", "False"]
    elsewhere = {"nnUNet_results": str(tmp_path / "elsewhere")}
    plain.command(elsewhere, "nnUNetv2_install_pretrained_model_from_zip", archive)
    assert (tmp_path / "elsewhere" / SOURCE / f"nnUNetTrainer__{NAME}__2d_toy").is_dir()
    words = ["-i", images, "-o", tmp_path / "after", *folds, "-p", NAME, *sequential]
    plain.command(elsewhere, "nnUNetv2_predict", *words)
    before = labels(tmp_path / "before")
    assert len(before) == 4 and all(any(label) for label in before.values())
    assert labels(tmp_path / "after") == before


def test_errors_come_without_a_traceback(toy_environment, uuds):
    words = ["-d", "501", "-c", "2d_toy", "-f", "all", "-device", "cpu"]
    with pytest.raises(SystemExit, match="Error: No trained model nnUDATrainerNone__nnUNetPlans__2d_toy"):
        main([*words, "-tr", "nnUDATrainerNone"])
    with pytest.raises(SystemExit, match="Error: nnUDATrainerUUDS predicts with a network of its own"):
        main([*words, "-tr", "nnUDATrainerUUDS", "-p", "exported_uuds"])


def test_labels_that_are_all_background_are_said(toy_environment, trained, tmp_path, capsys):
    """And so is a file that training did not leave; the export is finished all the same."""
    (trained / "fold_5").mkdir()
    checkpoint = torch.load(trained / "fold_all" / "checkpoint_final.pth", weights_only=False)
    for name, weight in checkpoint["network_weights"].items():
        if ".seg_layers." in name and name.endswith("bias"):
            weight[0] = 1000
    torch.save(checkpoint, trained / "fold_5" / "checkpoint_final.pth")
    try:
        main(
            [
                "-d",
                "501",
                "-c",
                "2d_toy",
                "-f",
                "5",
                "-p",
                "exported",
                "-tr",
                "nnUDATrainerSourceOnly",
                "-device",
                "cpu",
                "-o",
                str(tmp_path),
            ]
        )
    finally:
        shutil.rmtree(trained / "fold_5")
    said = capsys.readouterr().out
    assert "all of it is background" in said
    assert "training left no fold_5/progress.png, fold_5/validation/summary.json" in said
    assert (tmp_path / SOURCE / f"nnUNetTrainer__{NAME}__2d_toy" / "fold_5" / "checkpoint_final.pth").is_file()
