"""nnuda.adapt: its arguments reach the stages, its errors are raised. The notebook's test runs it to the end."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documentation_pages import ROOT

import nnuda
from nnuda import api
from nnuda.datasets import Domain
from nnuda.errors import NnudaError
from nnuda.stages.rounds import rounds_of

SETTINGS = {"training.seed": 3, "training.recipe": "paper", "teacher.mixing": 0.5}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's three folders with two datasets of one case each."""
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{kind}", str(tmp_path / kind))
    for name, kinds in (("Dataset501_A", ("imagesTr", "labelsTr")), ("Dataset502_B", ("imagesTr", "imagesTs"))):
        folder = tmp_path / "raw" / name
        for kind in kinds:
            (folder / kind).mkdir(parents=True)
            (folder / kind / ("x.png" if kind == "labelsTr" else "x_0000.png")).write_bytes(b"12345")
        content = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "box": 1}, "numTraining": 1}
        (folder / "dataset.json").write_text(json.dumps({**content, "file_ending": ".png"}))
    return tmp_path


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list:
    """Roads and hours that `adapt` would walk; each leaves an estimate."""
    seen = []

    def walk(road, hours):
        seen.append((road, hours))
        Path(road.predictions).mkdir(parents=True)
        Path(road.estimate).write_text(json.dumps({"per_class": {"box": {"value": 0.5}}}))
        return road

    monkeypatch.setattr(api, "walk", walk)
    monkeypatch.setattr(api, "check_road", lambda road: None)  # its images are none
    return seen


def test_arguments_reach_the_road(folders: Path, walked: list) -> None:
    found = nnuda.adapt(
        501,
        "Dataset502_B",
        "2d_small",
        fold="all",
        trainer="nnUDATrainerMIC",
        plans="planA",
        new_plans="planB",
        settings=SETTINGS,
        hours=1.5,
        output=folders / "out",
        checkpoint="checkpoint_best.pth",
        device="cpu",
        processes=3,
    )
    ((road, hours),) = walked
    assert hours == 1.5 and road.settings == SETTINGS
    assert (road.source.name, road.target.name) == ("Dataset501_A", "Dataset502_B")
    assert (road.configuration, road.fold, road.trainer) == ("2d_small", "all", "nnUDATrainerMIC")
    assert (road.base, road.plans, road.device, road.processes) == ("planA", "planB", "cpu", 3)
    assert road.cases == {"x": 5}
    assert found == nnuda.Adapted(
        model=folders / "results" / "Dataset501_A" / "nnUDATrainerMIC__planB__2d_small",
        fold="all",
        checkpoint="checkpoint_best.pth",
        images=folders / "raw" / "Dataset502_B" / "imagesTs",
        predictions=folders / "out" / "predictions",
        estimate={"per_class": {"box": {"value": 0.5}}},
        report=folders / "out" / "report.html",
        postprocessed=folders / "out" / "postprocessed",
    )


def test_a_folder_of_images_a_model_and_epochs(folders: Path, walked: list) -> None:
    model = folders / "model" / "fold_0"
    model.mkdir(parents=True)
    (model / "checkpoint_final.pth").touch()
    images = folders / "raw" / "Dataset502_B" / "imagesTs"
    nnuda.adapt(
        501,
        images,
        "2d",
        epochs=7,
        start_from=folders / "model",
        target_channels=["CT"],
        target_name="New",
        gpu_memory=4,
    )
    road, hours = walked[0]
    assert hours is None and road.settings == {"training.num_epochs": 7, "training.init_from": str(model)}
    assert isinstance(road.target, Domain) and road.target.channel_names == {"0": "CT"} and road.images == str(images)
    assert list(road.planning) == ["-gpu_memory_target", "4.0"]


def test_what_each_round_left(folders: Path, walked: list, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(road, hours):
        for one in (road, *rounds_of(road)):
            Path(one.predictions).mkdir(parents=True)
            Path(one.estimate).write_text(json.dumps({"of": one.source.name}))
        return road

    monkeypatch.setattr(api, "walk", walk)
    found = nnuda.adapt(501, 502, "2d", output=folders / "out", epochs=100, rounds=2)
    assert found.estimate == {"of": "Dataset501_A"} and [one.estimate["of"][:10] for one in found.rounds] == [
        "Dataset601",
        "Dataset602",
    ]
    last, name = found.rounds[-1], "Dataset602_A_pseudo_B"
    assert last.model == folders / "results" / name / "nnUNetTrainer_100epochs__nnUNetPlans__2d"
    assert (last.fold, last.checkpoint) == ("all", "checkpoint_final.pth")
    assert last.report == folders / "out" / "round_2" / "report.html"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "gpu"}, "--device"),
        ({"epochs": "many"}, "--epochs"),
        ({"epochs": 3, "hours": 1}, "got --budget and --epochs"),
        ({"target": 599}, "599"),
        ({"source_free": True}, "expected a trained model"),
        ({"source_free": True, "rounds": 1}, "expected a labelled source"),
        ({"rounds": 10}, "--rounds"),
        ({"settings": {"training.sed": 1}}, "training.sed"),
        ({"trainer": "nnUDATrainerAdpt"}, "nnUDATrainerAdpt"),
    ],
)
def test_a_wrong_argument_is_an_error_and_no_exit(folders: Path, arguments: dict, message: str) -> None:
    with pytest.raises(NnudaError, match=re.escape(message)):
        nnuda.adapt(**{"source": 501, "target": 502, "configuration": "2d", **arguments})


def test_a_variable_that_is_not_set(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_results")
    with pytest.raises(NnudaError, match="nnUNet_results"):
        nnuda.adapt(501, 502, "2d")


def test_the_page_has_every_argument_and_no_other() -> None:
    page = (ROOT / "documentation" / "reference" / "python.md").read_text(encoding="utf-8")
    text = re.search(r"^## adapt\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)[1]
    arguments, results = text.split("\n\nWhat comes back")
    assert set(re.findall(r"^\| `(\w+)`", arguments, re.MULTILINE)) == set(inspect.signature(nnuda.adapt).parameters)
    assert set(re.findall(r"^\| `(\w+)`", results, re.MULTILINE)) == set(nnuda.Adapted.__dataclass_fields__)


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="adopt"):
        nnuda.adopt  # noqa: B018


@pytest.mark.slow
def test_import_is_light() -> None:
    """nnuda is imported at every start of Python, by the line that registers its trainers."""
    heavy = "{'torch', 'numpy', 'nnunetv2', 'matplotlib', 'typing', 'argparse', 'nnuda.api'}"
    code = f"import sys; before = set(sys.modules); import nnuda; print(sorted({heavy} & (set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
