"""Class features of both domains, from a network on the toy's images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from harness import make_trainer
from toy import CPU, SOURCE, TARGET, Toy

from nnuda.cli import features
from nnuda.evaluation import class_features
from nnuda.evaluation.class_features import _equal_shares, collect_features
from nnuda.evaluation.reading import EvaluationError
from nnuda.results import ResultsError

EVERY = 10**6


@pytest.fixture(scope="session")
def untrained(toy: Toy) -> tuple[str, torch.nn.Module]:
    """Results folder of a network as it starts, and its last segmentation layer."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**CPU, **toy.folders}.items():
            patch.setenv(name, value)
        trainer = make_trainer(toy, "nnUDATrainerSourceOnly", "2d_toy", "features", {})
        trainer.on_train_start()
        trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    return trainer.output_folder_base, trainer.bare_network.decoder.seg_layers[-1]


def case(toy: Toy, dataset: str, name: str, label: Path | None = None) -> dict:
    return {name: ([str(toy.raw / dataset / "imagesTr" / f"{name}_0000.nii.gz")], str(label) if label else None)}


def label_of(toy: Toy, name: str) -> Path:
    return toy.raw / SOURCE / "labelsTr" / f"{name}.nii.gz"


def test_each_voxel_counts_once_with_its_label_or_prediction(toy_environment, untrained):
    folder, layer = untrained
    label = label_of(toy_environment, "case0")
    source, target = case(toy_environment, SOURCE, "case0", label), case(toy_environment, TARGET, "case1")
    found = collect_features(folder, source, target, "all", voxels=EVERY)
    assert found.names == ("background", "left box", "right box") and found.pseudo_labels
    counts = np.bincount(sitk.GetArrayFromImage(sitk.ReadImage(str(label))).ravel(), minlength=3)
    assert np.array_equal(np.bincount(found.classes[found.domains == 0], minlength=3), counts)
    of_target = found.domains == 1
    assert of_target.sum() == counts.sum()
    with torch.no_grad():
        logits = layer(torch.from_numpy(found.values[of_target].T[None, :, :, None]))
    assert np.array_equal(logits[0, :, :, 0].argmax(0).numpy(), found.classes[of_target])


def test_the_target_may_have_reference_labels(toy_environment, untrained, tmp_path):
    """The same case in both places, normalised alike, has the same voxels."""
    folder, _ = untrained
    stock = tmp_path / Path(folder).name
    shutil.copytree(folder, stock, ignore=shutil.ignore_patterns("plans_source.json", "*.png"))
    cases = case(toy_environment, SOURCE, "case0", label_of(toy_environment, "case0"))
    found = collect_features(str(stock), cases, cases, "all", voxels=EVERY)
    assert not found.pseudo_labels
    source, target = ((found.values[found.domains == d], found.classes[found.domains == d]) for d in (0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(source, target))


def test_deepest_features_and_at_most_so_many(toy_environment, untrained):
    source = case(toy_environment, SOURCE, "case0", label_of(toy_environment, "case0"))
    arguments = untrained[0], source, case(toy_environment, TARGET, "case1"), "all"
    found = collect_features(*arguments, layer="deepest", voxels=7)
    assert found.values.shape[1] == 16
    assert all((found.classes[found.domains == 0] == k).sum() == 7 for k in range(3))


def test_a_network_that_tells_the_domains_apart_is_told(toy_environment, monkeypatch):
    trainer = make_trainer(
        toy_environment,
        "nnUDATrainerPrototypes",
        "2d_toy",
        "features_cycle",
        {"prototypes.form": "cycle", "prototypes.discriminator.channels": 4},
    )
    trainer.on_train_start()
    trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    seen = []

    def forward(network, image, layer):
        seen.append(network.domain)
        return class_features_forward(network, image, layer)

    class_features_forward = class_features._forward
    monkeypatch.setattr(class_features, "_forward", forward)
    source = case(toy_environment, SOURCE, "case0", label_of(toy_environment, "case0"))
    collect_features(trainer.output_folder_base, source, case(toy_environment, TARGET, "case1"), "all", voxels=5)
    half = len(seen) // 2
    assert seen == ["source"] * half + ["target"] * half


def test_what_is_missing_is_said(toy_environment, untrained):
    folder, _ = untrained
    source, target = case(toy_environment, SOURCE, "case0"), case(toy_environment, TARGET, "case1")
    with pytest.raises(EvaluationError, match="label file for every source case; there is none for case0"):
        collect_features(folder, source, target, "all")
    labelled = case(toy_environment, SOURCE, "case0", label_of(toy_environment, "case0"))
    with pytest.raises(ResultsError, match="expected fold 3 in .*there are: fold_all"):
        collect_features(folder, labelled, target, "3")


@pytest.mark.parametrize("sizes, number, expected", [((5, 5), 6, 6), ((1, 9), 6, 6), ((9, 0, 1), 6, 6), ((2, 1), 6, 3)])
def test_shares_are_even_as_far_as_there_is_enough(sizes, number, expected):
    parts = [np.full((size, 2), i) for i, size in enumerate(sizes)]
    shared = _equal_shares(parts, number, np.random.default_rng(0))
    counts = np.bincount(shared[:, 0].astype(int), minlength=len(sizes))
    assert len(shared) == expected
    fullest = counts.max()
    assert all(count >= fullest - 1 or count == size for count, size in zip(counts, sizes))


def test_the_command_draws_two_networks(toy_environment, untrained, tmp_path, capsys):
    folder, _ = untrained
    other = tmp_path / Path(folder).name
    shutil.copytree(folder, other)
    picture = tmp_path / "features.png"
    arguments = [folder, str(other), "-f", "all", "-o", str(picture), "-device", "cpu"]
    arguments += ["--cases", "1", "--voxels", "20"]
    features.main([*arguments, "--names", "before", "after"])
    printed = capsys.readouterr().out
    assert "before: " in printed and "after: " in printed and "the network's predictions" in printed
    assert picture.stat().st_size > 5000
    with pytest.raises(SystemExit, match="title of its own"):
        features.main(arguments)
    with pytest.raises(SystemExit, match="expected fold all in .*there are: none"):
        features.main([str(tmp_path), *arguments[2:]])
    with pytest.raises(SystemExit, match="--target-labels"):
        features.main([folder, *arguments[2:], "--target-labels", str(tmp_path)])
