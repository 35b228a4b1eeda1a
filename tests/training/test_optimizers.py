from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch import nn

from nnuda.training.optimizers import GroupPolySchedule, JointOptimizer, steps_on_cpu


def modules() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(4, 1)})


def separate(pair: nn.ModuleDict) -> list[torch.optim.Optimizer]:
    return [
        torch.optim.SGD(pair["a"].parameters(), 0.1, momentum=0.9, nesterov=True),
        torch.optim.AdamW(pair["b"].parameters(), 0.01),
    ]


def backward(pair: nn.ModuleDict, scale: float = 1.0) -> None:
    image = torch.linspace(-1, 1, 15).view(5, 3)
    (pair["b"](pair["a"](image).tanh()).square().mean() * scale).backward()


def steps(pair: nn.ModuleDict, optimizers: list, count: int) -> None:
    for _ in range(count):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        backward(pair)
        for optimizer in optimizers:
            optimizer.step()


def assert_same(one: nn.Module, other: nn.Module) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_steps_equal_those_of_the_optimisers_alone():
    together, apart, start = modules(), modules(), modules()
    steps(together, [JointOptimizer(separate(together))], 3)
    steps(apart, separate(apart), 3)
    assert_same(together, apart)
    assert not any(torch.equal(a, b) for a, b in zip(together.parameters(), start.parameters()))


def test_a_reloaded_state_continues_identically():
    first = modules()
    optimizer = JointOptimizer(separate(first))
    steps(first, [optimizer], 2)
    second = deepcopy(first)
    resumed = JointOptimizer(separate(second))
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    steps(first, [optimizer], 2)
    steps(second, [resumed], 2)
    assert_same(first, second)


def test_a_schedule_reaches_every_group_after_a_reload():
    pair = modules()
    optimizer = JointOptimizer(separate(pair))
    schedule = GroupPolySchedule(optimizer, 10)
    optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
    schedule.step(5)
    rates = [group["lr"] for one in optimizer.optimizers for group in one.param_groups]
    assert rates == pytest.approx([0.1 * 0.5**0.9, 0.01 * 0.5**0.9])
    assert rates == [group["lr"] for group in optimizer.param_groups]


def test_a_state_of_other_optimisers_is_refused():
    pair = modules()
    with pytest.raises(ValueError):
        JointOptimizer(separate(pair)).load_state_dict({"optimizers": [separate(pair)[0].state_dict()]})


def test_gradients_are_cleared_everywhere():
    pair = modules()
    backward(pair)
    JointOptimizer(separate(pair)).zero_grad()
    assert all(parameter.grad is None for parameter in pair.parameters())


def test_a_grad_scaler_unscales_and_steps_all_of_them():
    scaled, plain = modules(), modules()
    optimizer, scaler = JointOptimizer(separate(scaled)), torch.amp.GradScaler("cpu", init_scale=1024.0)
    backward(scaled, scaler.get_scale())  # a power of two: scaling back is exact
    scaler.scale(torch.zeros(()))  # the scaler makes its scale on its first use
    scaler.unscale_(optimizer)
    backward(plain)
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-6) for a, b in zip(scaled.parameters(), plain.parameters()))
    scaler.step(optimizer)
    scaler.update()
    JointOptimizer(separate(plain)).step()
    assert all(torch.allclose(a, b) for a, b in zip(scaled.parameters(), plain.parameters()))


def test_an_overflow_in_one_of_them_stops_all():
    pair, start = modules(), modules()
    optimizer, scaler = JointOptimizer(separate(pair)), torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.zeros(()))
    backward(pair)
    pair["b"].bias.grad.fill_(float("inf"))
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert_same(pair, start)
    assert scaler.get_scale() == 2.0


def test_one_group_follows_nnunets_schedule():
    parameter = [nn.Parameter(torch.zeros(1))]
    ours, theirs = (torch.optim.SGD(parameter, 0.01) for _ in range(2))
    schedule, stock = GroupPolySchedule(ours, 50), PolyLRScheduler(theirs, 0.01, 50)
    for epoch in range(50):
        schedule.step(epoch)
        stock.step(epoch)
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]


def test_counts_of_steps_go_back_to_the_cpu():
    """Loading a checkpoint onto a GPU takes them there."""
    pair = modules()
    joint = JointOptimizer(separate(pair))
    backward(pair)
    joint.step()
    counts = list(joint.optimizers[1].state.values())
    for state in counts:
        state["step"] = SimpleNamespace(cpu=lambda: torch.tensor(1.0))
    steps_on_cpu(joint)
    assert len(counts) == 2 and all(state["step"] == torch.tensor(1.0) for state in counts)
    assert all(set(state) == {"momentum_buffer"} for state in joint.optimizers[0].state.values())
