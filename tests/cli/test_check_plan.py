"""nnUDA_check --plan: what it says of a plan is what stands there, and what was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from nnuda.cli import check, configure, measure_memory
from nnuda.find_trainer import find_trainer
from nnuda.plan_key import KEY
from nnuda.trainer_files import own_trainers
from nnuda.training.cost import seconds_of_a_step

PAGES = Path(__file__).parents[2] / "documentation" / "explanation"
# where the pages say what a step took: page, and the row with the preset's settings
ROWS = {
    "adapt": ("uuds", "source-only with teacher"),
    "prototypes": ("prototypes", "`single` with teacher"),
    "source_only": ("uuds", "source-only"),
    "tcsa": ("tcsa", "with teacher"),
    "transmedseg": ("transmedseg", "TransMedSeg"),
    "uuds": ("uuds", "UUDS with teacher"),
}


def said(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    check.main(["--plan", "-d", "701", *arguments])
    return capsys.readouterr().out


def test_sizes_are_those_of_the_plan(planned, capsys):
    plan = planned.plan()
    text = said(capsys)
    of_plan = plan["configurations"]["2d"]
    row = " ".join(next(line for line in text.splitlines() if line.split()[:1] == ["2d"]).split())
    expected = plan[KEY]["memory"]["expected_gb_per_configuration"]["2d"]  # of two domains: twice nnU-Net's
    patch = " x ".join(map(str, of_plan["patch_size"]))
    assert row.startswith(f"2d {patch} {of_plan['batch_size']} {expected:g} GB")
    assert float(row.split()[-2]) == pytest.approx(expected / 2, abs=0.011)
    assert "250,000 steps" in text and "--measure" in text and max(map(len, text.splitlines())) <= 80


def test_settings_and_trainer_are_reckoned_with(planned, capsys):
    settings = ["--set", "training.batch=total", "--set", "training.num_epochs=3", "--set", "training.seed=1"]
    configure.main(["-d", "701", "--as", "other", *settings])
    text = " ".join(said(capsys, "-p", "other", "-tr", "nnUDATrainerUUDS").split())
    assert "half of" in text and "times 1.5, the trainer's factor" in text and "750 steps (3 epochs of 250)" in text
    assert "3.6 times nnU-Net's" in text
    changed = re.search(r"other settings: (.*?)\. A fold", text)[1].split(", ")
    by_rules = {name for rule in planned.plan("other")[KEY]["rules"] for name in rule["settings"]}
    assert set(changed) == {"training.num_epochs", "training.seed", "training.batch"} | by_rules
    text = " ".join(said(capsys, "-tr", "nnUDATrainerMIC").split())
    assert "The time of a step of nnUDATrainerMIC against nnU-Net's was not measured" in text


@pytest.mark.parametrize("trainer", own_trainers())
def test_documented_times_are_those_of_the_pages(trainer):
    found = find_trainer(trainer)
    if found.preset not in ROWS:
        assert found.step_time is None
        return
    page, row = ROWS[found.preset]
    table = (PAGES / f"{page}.md").read_text(encoding="utf-8").partition("\n## Cost\n")[2]
    assert found.step_time == float(re.search(rf"^\| {re.escape(row)} \| ([\d.]+) \|", table, re.MULTILINE)[1])


def test_what_is_measured_is_shown_for_the_whole_training(planned, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(measure_memory, "of_both", lambda *a: asked.append(a[1:]) or (2.0, 0.5))
    text = " ".join(said(capsys, "--measure", "-device", "cpu", "-c", "2d", "-tr", "nnUDATrainerAdapt").split())
    assert "2d 2 s 0.5 s 4.00 5 d 18 h" in text  # 250,000 steps
    assert asked[0][2:4] == ("2d", "nnUDATrainerAdapt") and asked[0][-1] == torch.device("cpu")


class Clock:
    """A training whose steps take what the list says."""

    def __init__(self, seconds: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.now = list(seconds), 0.0
        self.dataloader_train = iter(range(99))
        monkeypatch.setattr("nnuda.training.cost.perf_counter", lambda: self.now)

    def on_train_start(self) -> None: ...

    on_epoch_start = on_train_epoch_start = on_train_start

    def train_step(self, batch: int) -> None:
        self.now += self.left.pop(0)


def test_the_first_step_does_not_count(monkeypatch):
    assert seconds_of_a_step(Clock([9, 1, 3, 2], monkeypatch), 3) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--plan"], "expected the labelled source with -d"),
        (["-d", "701"], "Expected --plan with -d"),
        (["--plan", "-d", "701", "-c", "4d"], "has no such configuration"),
        (["--plan", "-d", "701", "-tr", "X"], "expected one of nnuda's trainers"),
        (["--plan", "-d", "701", "-p", "none"], "No plan none .* Name one of them with -p, or make one: nnUDA_plan"),
    ],
)
def test_errors(planned, arguments, says):
    with pytest.raises(SystemExit, match=f"Error: .*{says}"):
        check.main(arguments)


def test_a_plan_without_a_target(stock):
    with pytest.raises(SystemExit, match="names no unlabelled target. Run: nnUDA_plan_and_preprocess"):
        check.main(["--plan", "-d", "701"])


def test_the_plan_is_left_alone(planned, capsys):
    before = (planned.of_source / "nnUNetPlans.json").read_text()
    said(capsys)
    assert json.loads(before) == planned.plan()
