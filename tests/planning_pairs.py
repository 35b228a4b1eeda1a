"""Small pairs of datasets on disk, for the tests of planning and preprocessing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprint_dataset,
    plan_experiment_dataset,
    preprocess_dataset,
)

from nnuda.cli.plan_and_preprocess import main as plan_and_preprocess
from nnuda.planning import fingerprint

NUM_VOXELS = 10**6  # of a dataset, for its intensities
SOURCE, TARGET = "Dataset701_Source", "Dataset702_Target"
LABELS = {"background": 0, "box": 1}
LPS, RAS = (1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1)


@dataclass(frozen=True)
class Folders:
    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed"

    @property
    def of_source(self) -> Path:
        return self.preprocessed / SOURCE

    @property
    def of_target(self) -> Path:
        return self.of_source / f"nnUDA_target_{TARGET}"

    def plan(self, name: str = "nnUNetPlans") -> dict:
        return json.loads((self.of_source / f"{name}.json").read_text())

    def use(self, monkeypatch: pytest.MonkeyPatch) -> Folders:
        for name in ("raw", "preprocessed", "results"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
            monkeypatch.setenv(f"nnUNet_{name}", str(self.root / name))
        monkeypatch.setenv("nnUNet_n_proc_DA", "1")
        monkeypatch.setattr(fingerprint, "MAX_VOXELS", 10**5)  # nnU-Net's 1e8 take seconds, and half a GB
        return self


def write_images(
    folder: Path,
    *,
    cases: int = 3,
    shape: tuple[int, int, int] = (8, 32, 32),
    spacing: tuple[float, float, float] = (4.0, 1.0, 1.0),
    channels: int = 1,
    direction: tuple[float, ...] = LPS,
    seed: int = 0,
    prefix: str = "case",
) -> None:
    """Noise with a bright box, as NIfTI; shape and spacing (mm) in array order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(cases):
        for c in range(channels):
            image = rng.normal(100, 10, shape).astype(np.float32)
            image[box(shape)] += 80
            write_nifti(folder / f"{prefix}{i}_{c:04d}.nii.gz", image, spacing, direction)


def write_nifti(file: Path, array: np.ndarray, spacing: tuple[float, ...], direction: tuple[float, ...] = LPS) -> None:
    picture = sitk.GetImageFromArray(array)
    picture.SetSpacing([float(s) for s in spacing[::-1]])
    picture.SetDirection(direction)
    sitk.WriteImage(picture, str(file))


def box(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(n // 4, max(n // 4 + 1, n // 2)) for n in shape)


def write_dataset(
    raw: Path,
    name: str,
    *,
    labelled: bool,
    channel_names: tuple[str, ...] = ("MR",),
    labels: dict | None = None,
    extra: dict | None = None,
    **images: object,
) -> Path:
    """A dataset in nnU-Net's raw format; an unlabelled one has no labelsTr."""
    folder = raw / name
    write_images(folder / "imagesTr", channels=len(channel_names), **images)
    cases = sorted({path.name[:-12] for path in (folder / "imagesTr").iterdir()})
    content = {
        "channel_names": {str(i): c for i, c in enumerate(channel_names)},
        "labels": labels or LABELS,
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
        **(extra or {}),
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    if labelled:
        (folder / "labelsTr").mkdir()
        for case in cases:
            image = sitk.ReadImage(str(folder / "imagesTr" / f"{case}_0000.nii.gz"))
            label = np.zeros(image.GetSize()[::-1], np.uint8)
            label[box(label.shape)] = 1
            write_nifti(folder / "labelsTr" / f"{case}.nii.gz", label, image.GetSpacing()[::-1], image.GetDirection())
    return folder


def write_pair(raw: Path) -> None:
    write_dataset(raw, SOURCE, labelled=True)
    write_dataset(raw, TARGET, labelled=False, cases=4, spacing=(3.0, 0.8, 0.8), seed=1)


def edit_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a folder, but nnuda's notes on raw files, which keep the times of these copies."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "nnUDA_raw_cases.json"
    }


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """Empty nnU-Net folders in this process's environment."""
    return Folders(tmp_path).use(monkeypatch)


@pytest.fixture
def pair(folders: Folders) -> Folders:
    """A raw pair of datasets, nothing planned."""
    write_pair(folders.raw)
    return folders


def _made_once(tmp_path_factory: pytest.TempPathFactory, name: str, command: Callable[[], None]) -> Folders:
    """A pair that a command was run on. A fixture belongs to the conftest that imports it: the folder is shared."""
    made = Folders(tmp_path_factory.getbasetemp() / f"pair-{name}")
    if not made.root.exists():
        with pytest.MonkeyPatch.context() as monkeypatch:
            made.use(monkeypatch)
            write_pair(made.raw)
            command()
    return made


@pytest.fixture(scope="session")
def _planned_once(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return _made_once(
        tmp_path_factory, "planned", lambda: plan_and_preprocess(["-d", "701", "-t", "702", "-c", "2d", "-np", "1"])
    )


@pytest.fixture
def planned(_planned_once: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """The pair with a fresh plan by nnUDAPlanner, preprocessed for 2d; a copy, free to change."""
    shutil.copytree(_planned_once.root, tmp_path, dirs_exist_ok=True)
    return Folders(tmp_path).use(monkeypatch)


@pytest.fixture(scope="session")
def _stock_once(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return _made_once(tmp_path_factory, "stock", lambda: run_stock(701))


@pytest.fixture
def stock(_stock_once: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    """The pair as stock nnU-Net leaves it: source planned and preprocessed for 2d. A copy, free to change."""
    shutil.copytree(_stock_once.root, tmp_path, dirs_exist_ok=True)
    return Folders(tmp_path).use(monkeypatch)


class QuickExtractor(DatasetFingerprintExtractor):
    """nnU-Net's with a hundredth of its intensities, which tiny images do not need."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.num_foreground_voxels_for_intensitystats = NUM_VOXELS


def run_stock(dataset: int) -> None:
    """nnUNetv2_plan_and_preprocess -c 2d."""
    extract_fingerprint_dataset(dataset, fingerprint_extractor_class=QuickExtractor, num_processes=1)
    plan_experiment_dataset(dataset)
    preprocess_dataset(dataset, configurations=("2d",), num_processes=(1,))
