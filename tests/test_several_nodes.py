"""Two hosts train together: two network namespaces with a cable between them where this account may make some, else two
agents of torchrun on one machine. What they train is what one process trains with their batches joined."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from methods import Method, settings_of
from toy import SOURCE, Toy

from nnuda.train import LaunchError, build_parser, check, on_own_device

TRAINER = '''
import torch
from torch import distributed as dist

from nnuda.data.domain_batch import TargetBatch
from nnuda.training.outputs import DomainOutputs
from nnuda.training.trainer import nnUDATrainer


class nnUDATrainerDrawn(nnUDATrainer):
    """Adapt, on made-up patches: the first process has the batch's first half, the second the rest; one has both."""

    preset = "adapt"

    def get_dataloaders(self):
        return self.draw(), super().get_dataloaders()[1]

    def draw(self):
        first = dist.get_rank() * self.batch_size
        mine = slice(first, first + self.batch_size)
        for step in range(1000):
            generator = torch.Generator().manual_seed(step)
            label = torch.zeros(2, 1, 32, 32)
            for image in label:
                row, column = torch.randint(18, (2,), generator=generator).tolist()
                image[0, row : row + 6, column : column + 12] = 1
                image[0, row + 6 : row + 12, column : column + 12] = 2
            noise = torch.randn(3, 2, 1, 32, 32, generator=generator)
            yield {
                "data": (label + 0.3 * noise[0])[mine],
                "target": [label[mine], label[mine][..., ::2, ::2]],
                "target_domain": {"strong": (2 - label + 0.3 * noise[1])[mine], "weak": (2 - label + 0.3 * noise[2])[mine]},
            }

    def teacher_loss(self, source, target, outputs):
        """The mean over confident voxels is each process's own, of its patches."""
        if dist.get_world_size() > 1:
            return super().teacher_loss(source, target, outputs)
        halves = [
            super(nnUDATrainerDrawn, self).teacher_loss(
                source,
                TargetBatch(target.image[i : i + 1], target.weak[i : i + 1]),
                DomainOutputs(outputs.source, [z[i : i + 1] for z in outputs.target]),
            )["teacher"]
            for i in range(2)
        ]
        return {"teacher": sum(halves) / 2}
'''
PLANS = "nnUNetPlans_hosts"
SETTINGS = {
    "teacher.threshold": "fixed",
    "training.num_epochs": 1,
    "training.num_iterations_per_epoch": 6,
    "selection.enabled": False,
}
ADDRESSES = ("10.213.7.1", "10.213.7.2")


@contextmanager
def two_hosts() -> Iterator[list[tuple[list[str], str, str]]]:
    """(what to put before a command, its network interface, its address) of each host."""
    names = [f"nnuda{os.getpid()}{letter}" for letter in "ab"]
    cables = [f"nn{os.getpid() % 10**6}{letter}" for letter in "ab"]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for name, cable, address in zip(names, cables, ADDRESSES):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            ip("-n", name, "link", "set", cable, "up")
            ip("-n", name, "link", "set", "lo", "up")
    except (OSError, subprocess.CalledProcessError):
        yield [([], "lo", "127.0.0.1")] * 2
    else:
        yield [
            (["ip", "netns", "exec", name], cable, address) for name, cable, address in zip(names, cables, ADDRESSES)
        ]
    finally:
        for name in names if shutil.which("ip") else []:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def train(toy: Toy, trainers: Path, results: Path, nodes: int) -> Path:
    """Train on so many hosts, a process each; returns the fold's folder."""
    with two_hosts() as hosts:
        running = []
        for node, (before, interface, _) in enumerate(hosts[:nodes]):
            environment = {
                **toy.environment,
                "nnUNet_extTrainer": str(trainers),
                "nnUNet_results": str(results),
                "GLOO_SOCKET_IFNAME": interface,
            }
            launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(nodes), "--nproc-per-node", "1"]
            launch += ["--node-rank", str(node), "--master-addr", hosts[0][2], "--master-port", "29517"]
            command = ["-m", "nnuda.train", "501", "2d_toy", "all", "-tr", "nnUDATrainerDrawn", "-p", PLANS]
            running.append(
                subprocess.Popen(
                    [*before, *launch, *command, "-device", "cpu"],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        try:
            printed = [process.communicate(timeout=300)[0] for process in running]
        finally:
            for process in running:
                process.terminate()
    assert [process.returncode for process in running] == [0] * nodes, "\n".join(text[-4000:] for text in printed)
    return results / SOURCE / f"nnUDATrainerDrawn__{PLANS}__2d_toy" / "fold_all"


@pytest.fixture(scope="module")
def trained(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The fold's folder by number of hosts."""
    plans = json.loads((toy.preprocessed / "nnUNetPlans.json").read_text())
    plans["plans_name"] = PLANS
    plans["domain_adaptation"]["settings"] |= {**settings_of(Method("nnUDATrainerAdapt")), **SETTINGS}
    (toy.preprocessed / f"{PLANS}.json").write_text(json.dumps(plans))
    trainers = tmp_path_factory.mktemp("trainers")
    (trainers / "nnUDATrainerDrawn.py").write_text(TRAINER)
    return {nodes: train(toy, trainers, tmp_path_factory.mktemp(f"hosts{nodes}"), nodes) for nodes in (1, 2)}


def state(fold: Path) -> dict:
    return torch.load(fold / "checkpoint_final.pth", weights_only=False)


def test_two_hosts_train_what_one_process_trains_with_the_joined_batch(trained):
    """Student and teacher after six steps; every rank's random state is kept."""
    one, two = state(trained[1]), state(trained[2])
    for part in ("student", "teacher"):
        for name, value in one["nnuda"][part].items():
            torch.testing.assert_close(two["nnuda"][part][name], value, rtol=1e-4, atol=1e-6, msg=f"{part} {name}")
    first = {name: value for name, value in one["nnuda"]["student"].items() if name.endswith("weight")}
    assert any(not torch.equal(value, one["nnuda"]["teacher"][f"network.{name}"]) for name, value in first.items())
    assert [len(checkpoint["nnuda"]["random_states"]) for checkpoint in (one, two)] == [1, 2]


def test_the_first_process_alone_writes_what_all_share(trained):
    """One log, one summary of all validation cases, which the hosts shared among them; nothing half-written."""
    fold = trained[2]
    assert len(list(fold.glob("training_log*.txt"))) == 1
    assert len(list((fold / "validation").glob("*.nii.gz"))) == 4 and (fold / "validation" / "summary.json").is_file()
    assert not list(fold.parent.rglob("*.tmp"))


GROUP = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    "words, environment, message",
    [
        ("501 2d 0", {}, "started by torchrun.* RANK, .*MASTER_PORT.* nnUNetv2_train"),
        ("501 2d 0 -device cpu", {"RANK": "0"}, "WORLD_SIZE, LOCAL_RANK"),
        ("501 2d five -device cpu", GROUP, "expected a number from 0 on, or all; got 'five'"),
        ("heart 2d 0 -device cpu", GROUP, "got 'heart'"),
        ("501 2d 0 -device cpu --c --val", GROUP, "options c and val; got both"),
        (
            "501 2d 0",
            {**GROUP, "LOCAL_RANK": "4096"},
            "process 4096 .from 0. of a machine with .* GPUs.*nproc-per-node",
        ),
    ],
)
def test_what_cannot_train_is_refused(words, environment, message):
    with pytest.raises(LaunchError, match=message):
        check(build_parser().parse_args(words.split()), environment)


def test_the_gpu_is_the_processs_whatever_its_rank():
    """nnU-Net sets cuda:3 on the process of rank 3, which may be the only one of its machine."""

    class Stock:
        def __init__(self) -> None:
            self.device = torch.device("cuda", 3)

    placed = on_own_device(Stock, torch.device("cuda", 0))
    assert placed().device == torch.device("cuda", 0) and placed.__name__ == "Stock" and issubclass(placed, Stock)
