"""What a late stage would stop with is known before the road is begun."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnuda.case_files import FOLDS, check_fold
from nnuda.cli import adapt
from nnuda.errors import NnudaError
from nnuda.results import ADAPTED
from nnuda.stages.check import check_later_stages
from nnuda.stages.road import FINAL, Road


@pytest.fixture
def ready(road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Road:
    """A road with one image of two channels to predict."""
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    Path(road.images).mkdir()
    for channel in range(2):
        image = Path(road.images) / f"case_{channel:04d}.nii.gz"
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 4, 4), np.float32)), str(image))
    source = replace(road.source, images={f"s{i}": ["s_0000.nii.gz", "s_0001.nii.gz"] for i in range(5)})
    return replace(road, source=source)


def test_a_good_road(ready: Road) -> None:
    (Path(ready.fold_folder) / "mine.pth").touch()
    for checkpoint in (None, FINAL, "checkpoint_best.pth", "checkpoint_selected.pth", "mine.pth"):
        check_later_stages(replace(ready, checkpoint=checkpoint))


def test_a_fold_that_the_source_does_not_have(ready: Road) -> None:
    with pytest.raises(NnudaError, match="-f: expected a fold from 0 to 4, or all; got 9"):
        check_later_stages(replace(ready, fold="9"))


@pytest.mark.parametrize("name", ["nope.pth", "../fold_0/mine.pth", __file__])
def test_a_checkpoint_that_training_does_not_leave(ready: Road, name: str) -> None:
    (Path(ready.fold_folder) / "mine.pth").touch()
    with pytest.raises(NnudaError, match=f"-chk: expected a file that training leaves, {FINAL}, .*; got {name}"):
        check_later_stages(replace(ready, checkpoint=name))


@pytest.mark.parametrize(
    ("name", "size"), [("case_0001.nii.gz", None), ("case_0000.nii.gz", None), ("case_0000.nii.gz", 60)]
)
def test_images_that_cannot_be_predicted(ready: Road, name: str, size: int | None) -> None:
    image = Path(ready.images) / name
    if size is None:
        image.unlink()
    else:
        image.write_bytes(image.read_bytes()[:size])
    with pytest.raises(NnudaError, match="case.*_000"):
        check_later_stages(ready)


@pytest.mark.parametrize(
    ("fold", "cases", "splits", "message"),
    [
        ("4", 5, None, ""),
        ("all", 1, None, ""),
        ("5", 9, None, "-f: expected a fold from 0 to 4, or all; got 5"),
        ("0", 4, None, "-f: expected a fold all, since 4 cases are too few for 5 folds; got 0"),
        ("1", 2, 2, ""),
        ("2", 9, 2, r"-f: expected a fold from 0 to 1, or all .*splits_final.json has 2\); got 2"),
    ],
)
def test_folds(tmp_path: Path, fold: str, cases: int, splits: int | None, message: str) -> None:
    file = tmp_path / "splits_final.json"
    if splits:
        file.write_text(json.dumps([{"train": ["a"], "val": ["b"]}] * splits))
    with pytest.raises(NnudaError, match=message) if message else nullcontext():
        check_fold(fold, cases, str(file), "-f")


def test_as_many_folds_as_nnunet_makes() -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    assert len(generate_crossval_split([f"case{i}" for i in range(20)])) == FOLDS


WORDS = ["-d", "501", "-t", "502", "-c", "2d"]
EPOCHS = (["--budget", "1"], ["--epochs", "3"], ["--set", "training.num_epochs=3"])


@pytest.mark.parametrize("left_out", range(3))
def test_one_option_decides_the_number_of_epochs(left_out: int) -> None:
    words = [word for i, option in enumerate(EPOCHS) if i != left_out for word in option]
    with pytest.raises(NnudaError, match=f"^{words[0]}.*: expected one option that decides .*; got .* and "):
        adapt.make_road(adapt.build_parser().parse_args([*WORDS, *words]))


def test_a_users_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    (tmp_path / "thesis.txt").touch()
    args = adapt.build_parser().parse_args([*WORDS, "-o", str(tmp_path)])
    with pytest.raises(NnudaError, match="-o: expected a new or empty folder, .* holds thesis.txt"):
        adapt.make_road(args)
    (tmp_path / ADAPTED).touch()
    with pytest.raises(NnudaError, match="No dataset 501"):
        adapt.make_road(args)
