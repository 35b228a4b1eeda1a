"""Every trainer's step on device cuda, without a GPU: where tensors lie, and how often the host waits for the GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_cuda import CUDA, fake_cuda, made_up_batch, without_autograd
from harness import make_trainer
from methods import ROWS, TRAINERS, Method, settings_of

from nnuda.selection.patches import SourceShares, TargetPatches
from nnuda.selection.score import score_target

PAGE = Path(__file__).parents[2] / "documentation" / "explanation" / "waiting-for-the-gpu.md"
VARIANTS = {
    **{trainer: Method(trainer) for trainer in TRAINERS},
    **{
        name: ROWS[name]
        for name in ("stock", "mixing", "uuds_paper", "cycle", "transmedseg_everything", "tcsa_everything")
    },
}
# (file, function) that may make the host wait, and why. What is not here is to be computed on the device, or to be
# given a reason, which goes onto the page.
MUST_STAY = {
    ("trainer.py", "adaptation_step"): "the step's loss for nnU-Net's log",
    ("nnUNetTrainer.py", "train_step"): "the step's loss for nnU-Net's log, and its GradScaler's question as below",
    ("trainer.py", "update"): "the GradScaler asks whether a gradient overflowed, before the optimiser steps",
    ("trainer.py", "adversary_step"): "the same question for discriminators, which have no GradScaler",
    ("class_statistics.py", "sample_classes"): "where each class's voxels are: how many there are is a shape",
    ("mixing.py", "largest_components"): "connected components are found on the host: labels there and back",
}
STEP = {("trainer.py", "adaptation_step"): 1, ("trainer.py", "update"): 1}
CLASSES = 3  # of the toy, background included
SAMPLES = {("class_statistics.py", "sample_classes"): 2 * CLASSES}
DISCRIMINATORS = {("trainer.py", "adversary_step"): 1}
WAITS = {  # of nnuda's own trainers
    "stock": {("nnUNetTrainer.py", "train_step"): 2},
    "nnUDATrainerSourceOnly": STEP,
    "nnUDATrainerAdapt": STEP,
    "mixing": STEP,
    "nnUDATrainerUUDS": STEP,
    "uuds_paper": STEP,
    "nnUDATrainerTransMedSeg": STEP | SAMPLES,
    "transmedseg_everything": STEP | SAMPLES | {("mixing.py", "largest_components"): 2},
    "nnUDATrainerPrototypes": STEP,
    "cycle": STEP | DISCRIMINATORS,
    "nnUDATrainerTCSA": STEP,
    "tcsa_everything": STEP | DISCRIMINATORS,
}


def cuda_trainer(toy_environment, monkeypatch, name: str, configuration: str):
    """A trainer on a GPU that is not there, before its first step."""
    method = VARIANTS[name]
    trainer = make_trainer(
        toy_environment, method.trainer, configuration, f"fake_{name}", settings_of(method), device=CUDA
    )
    trainer.grad_scaler = torch.amp.GradScaler("cpu")  # one for cuda switches itself off where there is no GPU
    trainer.initialize()
    trainer.network.train()
    trainer.step_in_epoch = 1
    without_autograd(monkeypatch, trainer.network, trainer.extra_modules, trainer.adversary)
    return trainer


@pytest.mark.parametrize("configuration", ("2d_toy", "3d_toy"))
@pytest.mark.parametrize("name", VARIANTS)
def test_a_step_on_cuda_waits_only_where_it_must(toy_environment, monkeypatch, name, configuration):
    """Batch to device, both domains, teacher, losses, statistics, discriminators, optimisers; all but the backward."""
    with fake_cuda(monkeypatch) as waits:
        trainer = cuda_trainer(toy_environment, monkeypatch, name, configuration)
        for module in (trainer.network, trainer.extra_modules, trainer.adversary, trainer.statistics, trainer.teacher):
            state = {} if module is None else module.state_dict()
            assert {value.device for value in state.values()} <= {CUDA}
        waits.seen.clear()
        assert trainer.train_step(made_up_batch(trainer)).keys() == {"loss"}
    unknown = {place: count for place, count in waits.seen.items() if place not in MUST_STAY}
    assert not unknown, (
        f"The host waits for the GPU in each step, by file and function: {unknown}. Compute it on the device, or give the "
        "reason in MUST_STAY of this test."
    )
    if name in WAITS:
        assert dict(waits.seen) == WAITS[name]


@pytest.mark.parametrize("name", TRAINERS)
def test_an_epoch_is_scored_on_cuda(toy_environment, monkeypatch, name):
    """Patches come from the host, scores go there."""
    with fake_cuda(monkeypatch):
        trainer = cuda_trainer(toy_environment, monkeypatch, name, "2d_toy")
        patches = TargetPatches(
            torch.randn(4, trainer.num_input_channels, 32, 32), torch.rand(4, 32, 32) < 2, torch.arange(0, 4096, 4)
        )
        scores = score_target(
            patches, SourceShares([0.1, 0.2], [True, True]), *trainer.predictions(), 2, False, 100, 0.05, CUDA
        )
    assert scores.keys() == {"entropy", "class_prior", "agreement", "density", "class_shares"}


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.cpu(),
        lambda x: torch.zeros(3).to(x.device),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
    ],
)
def test_a_wait_is_noticed(monkeypatch, code):
    with fake_cuda(monkeypatch) as waits:
        code(torch.randn(2, 3, device=CUDA))
    assert sum(waits.seen.values()) == 1


@pytest.mark.parametrize(
    "code",
    [
        lambda x: torch.zeros(3).to(x.device, non_blocking=True),
        lambda x: torch.where(x > 0, x, 0).sum(),
        lambda x: x.new_full((), 3),
    ],
)
def test_what_does_not_wait_is_not_counted(monkeypatch, code):
    with fake_cuda(monkeypatch) as waits:
        code(torch.randn(2, 3, device=CUDA))
    assert not waits.seen


def test_a_tensor_on_the_host_raises(monkeypatch):
    with fake_cuda(monkeypatch), pytest.raises(RuntimeError, match="device"):
        torch.randn(2, 3, device=CUDA) + torch.randn(2, 3)


def rows() -> list[str]:
    """The page's tables."""
    lines = ["| Trainer or variant | waits a step | of them beyond nnU-Net's two |", "|---|---|---|"]
    for name, waits in WAITS.items():
        lines.append(f"| `{name}` | {sum(waits.values())} | {sum(waits.values()) - 2} |")
    lines += ["", "| Where | Why | Waits |", "|---|---|---|"]
    for (file, function), reason in MUST_STAY.items():
        counts = sorted({waits[file, function] for waits in WAITS.values() if (file, function) in waits})
        lines.append(f"| `{file}`, `{function}` | {reason} | {', '.join(map(str, counts))} |")
    return lines


def test_the_page_says_the_same():
    table = "\n".join(rows())
    assert table in PAGE.read_text(encoding="utf-8"), f"{PAGE.name}: put these tables there:\n{table}"
