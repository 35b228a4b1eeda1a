"""What the trainer does by hand under DDP, with two gloo processes on the CPU, against one process."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from harness import make_trainer
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nnuda.files import write_json
from nnuda.training.curves import EpochMeans
from nnuda.training.distributed import (
    average_gradients,
    broadcast_from_first,
    from_first,
    keep_in_graph,
    mean_over_ranks,
    split_batch,
)

CPU = torch.device("cpu")
BIG = {"configurations": {str(i): list(range(50)) for i in range(300)}}


def modules(seed: int) -> nn.ModuleDict:
    torch.manual_seed(seed)
    return nn.ModuleDict(
        {
            "both": nn.Linear(3, 2),
            "first rank only": nn.Linear(3, 2, bias=False),
            "no rank": nn.Linear(3, 2),
            "norm": nn.BatchNorm1d(2),
        }
    )


def images() -> torch.Tensor:
    return torch.linspace(-1, 1, 12).view(4, 3)


def gradients(beside: nn.Module) -> dict[str, torch.Tensor | None]:
    return {name: parameter.grad for name, parameter in beside.named_parameters() if not name.startswith("norm")}


def averaged_gradients(rank: int) -> dict:
    beside = modules(0)
    half = images()[2 * rank : 2 * rank + 2]
    loss = beside["both"](half).square().mean()
    if rank == 0:
        loss = loss + beside["first rank only"](half).square().mean()
    loss.backward()
    average_gradients(beside.parameters())
    average_gradients([])
    return gradients(beside)


def broadcast_state(rank: int) -> dict:
    beside = modules(rank)
    beside["norm"](torch.randn(rank + 2, 2))
    if rank:
        beside["norm"](torch.randn(4, 2))
    broadcast_from_first(beside)
    return beside.state_dict()


def means(rank: int) -> dict:
    """Rank 0 counts 1 value of "a", rank 1 three; nobody counts "c"."""
    value, count = (
        torch.tensor([[2.0, 5.0, 0.0], [10.0, 0.0, 0.0]][rank]),
        torch.tensor([[1.0, 1.0, 0.0], [3.0, 0.0, 0.0]][rank]),
    )
    mean = mean_over_ranks(value, count)
    epoch = EpochMeans(CPU)
    for number in ([2.0], [3.0, 3.0, 4.0])[rank]:
        epoch.update("a", number)
    return {"mean": mean, "untouched": (value, count), "epoch": epoch.compute(["a", "c"])}


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.beside = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, image):
        return self.head(image), self.beside(image)


def steps_with_an_unused_output(rank: int, keep: bool) -> str | torch.Tensor:
    network = DistributedDataParallel(TwoOutputs())
    for _ in range(2):
        network.zero_grad()
        try:
            logits, unused = network(images()[2 * rank : 2 * rank + 2])
        except RuntimeError as error:
            return str(error)
        (keep_in_graph(logits, [unused, None]) if keep else logits).square().mean().backward()
    return network.module.head.weight.grad


def write_together(rank: int, folder: str) -> bool:
    path = Path(folder) / "plans.json"
    write_json(BIG, str(path))
    dist.barrier()
    for _ in range(30):
        write_json(BIG, str(path))
        if json.loads(path.read_text()) != BIG:
            return False
    return True


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    done = {
        "gradients": averaged_gradients(rank),
        "state": broadcast_state(rank),
        "means": means(rank),
        "kept": steps_with_an_unused_output(rank, keep=True),
        "first's": [from_first({"entropy": 0.1} if rank == 0 else None), from_first(None)],
        "written": write_together(rank, folder),
    }
    done["not kept"] = steps_with_an_unused_output(rank, keep=False)
    torch.save(done, f"{folder}/rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def ranks(folder) -> list[dict]:
    torch.multiprocessing.spawn(one_rank, (str(folder),), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


def test_averaged_gradients_are_those_of_the_whole_batch(ranks):
    beside = modules(0)
    (beside["both"](images()).square().mean() + beside["first rank only"](images()[:2]).square().mean() / 2).backward()
    for rank in ranks:
        assert rank["gradients"].keys() == gradients(beside).keys()
        for name, expected in gradients(beside).items():
            if expected is None:
                assert rank["gradients"][name] is None, name
            else:
                assert torch.allclose(rank["gradients"][name], expected, atol=1e-7), name


def test_every_rank_gets_the_firsts_parameters_and_buffers(ranks):
    first = modules(0)
    first["norm"](torch.randn(2, 2))
    for rank in ranks:
        assert all(torch.equal(rank["state"][name], value) for name, value in first.state_dict().items())


def test_every_rank_gets_the_firsts_value(ranks):
    assert [rank["first's"] for rank in ranks] == [[{"entropy": 0.1}, None]] * 2
    assert from_first(3) == 3


def test_means_are_those_over_all_values(ranks):
    for rank, (value, count) in zip(ranks, [([2.0, 5.0, 0.0], [1.0, 1.0, 0.0]), ([10.0, 0.0, 0.0], [3.0, 0.0, 0.0])]):
        assert rank["means"]["mean"].tolist()[:2] == [3.0, 5.0] and math.isnan(rank["means"]["mean"][2])
        assert [tensor.tolist() for tensor in rank["means"]["untouched"]] == [value, count]
        assert rank["means"]["epoch"]["a"] == 3.0 and math.isnan(rank["means"]["epoch"]["c"])


def test_without_ddp_a_mean_is_value_by_count():
    mean = mean_over_ranks(torch.tensor([6.0, 0.0]), torch.tensor([4.0, 0.0]))
    assert mean[0] == 1.5 and mean[1].isnan()


def test_ddp_wants_every_parameter_and_gets_it(ranks):
    alone = TwoOutputs()
    alone(images())[0].square().mean().backward()
    for rank in ranks:
        assert "parameters that were not used in producing loss" in rank["not kept"]
        assert torch.allclose(rank["kept"], alone.head.weight.grad, atol=1e-7)


def test_outputs_kept_in_the_graph_change_neither_logits_nor_gradients():
    network = TwoOutputs()
    logits, unused = network(images())
    kept = keep_in_graph(logits, [None, unused.half()])
    assert torch.equal(kept, logits) and kept.dtype == logits.dtype
    assert keep_in_graph(logits.half(), [unused]).dtype == torch.float16
    kept.sum().backward()
    assert network.beside.weight.grad.eq(0).all() and network.head.weight.grad.abs().sum() > 0


def test_two_processes_write_one_valid_file(ranks, folder):
    assert all(rank["written"] for rank in ranks)
    assert json.loads((folder / "plans.json").read_text()) == BIG
    assert not list(folder.glob("*.tmp"))


@pytest.mark.parametrize(
    "size, mode, sizes",
    [(4, "each", (4, 4)), (1, "each", (1, 1)), (4, "total", (2, 2)), (5, "total", (3, 2)), (2, "total", (1, 1))],
)
def test_batch_sizes(size, mode, sizes):
    assert split_batch(size, mode) == sizes


def test_one_patch_cannot_be_shared():
    with pytest.raises(ValueError, match="needs a batch of at least 2 .* got 1 .*training.batch = each"):
        split_batch(1, "total")


@pytest.mark.parametrize("mode, size, drawn", [("each", 2, {(False, True)}), ("total", 1, {(False,), (True,)})])
def test_a_batch_of_one_patch_is_oversampled_by_chance(toy_environment, mode, size, drawn):
    """nnU-Net picks the last third of a batch for foreground, which is none of one."""
    trainer = make_trainer(
        toy_environment,
        "nnUDATrainerSourceOnly",
        "2d_toy",
        f"oversampling_{mode}",
        {"teacher.weight": 1, "training.batch": mode},
    )
    trainer.initialize()
    loader = trainer.get_dataloaders()[1].data_loader
    assert {tuple(loader.get_do_oversample(i) for i in range(size)) for _ in range(200)} == drawn
