from __future__ import annotations

import pytest
import torch
from torch import nn

from nnuda.training.init_from import init_from


class Network(nn.Module):
    def __init__(self, classes: int, extra: bool = False, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.Linear(3, 4)
        self.head = nn.Linear(4, classes)
        if extra:
            self.attention = nn.Linear(4, 4)


def save(network: nn.Module, path) -> str:
    torch.save({"network_weights": network.state_dict()}, path)
    return str(path)


def test_the_same_network_is_taken_whole_heads_included(tmp_path):
    network, trained = Network(2, seed=0), Network(2, seed=1)
    report = init_from(network, save(trained, tmp_path / "plain.pth"))
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in network.state_dict().items())
    assert report == f"training.init_from: took 4 of 4 weights from {tmp_path / 'plain.pth'}."


def test_what_agrees_is_taken_and_the_rest_is_said(tmp_path):
    network, trained = Network(3, extra=True, seed=0), Network(2, seed=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    report = init_from(network, save(trained, tmp_path / "plain.pth"))
    assert torch.equal(network.encoder.weight, trained.encoder.weight) and torch.equal(
        network.encoder.bias, trained.encoder.bias
    )
    for name in ("head.weight", "head.bias", "attention.weight", "attention.bias"):
        assert torch.equal(network.state_dict()[name], before[name])
    assert "took 2 of 6 weights" in report
    assert "Not in it, or of another shape: head.weight, head.bias, attention.weight, attention.bias." in report
    assert report.endswith("Left over: head.weight, head.bias.")


def test_long_lists_are_cut(tmp_path):
    network = nn.ModuleList([nn.Linear(1, 1) for _ in range(5)])
    report = init_from(network, save(nn.ModuleList([nn.Linear(1, 1)]), tmp_path / "plain.pth"))
    assert "1.weight, 1.bias, 2.weight, 2.bias, 3.weight and 3 more." in report


def test_nothing_that_agrees_is_an_error(tmp_path):
    network = Network(2)
    before = network.head.weight.clone()
    with pytest.raises(ValueError, match="none of the 2 weights .* fits this network"):
        init_from(network, save(nn.Linear(7, 7), tmp_path / "other.pth"))
    assert torch.equal(network.head.weight, before)


def test_a_file_that_is_no_nnunet_checkpoint_is_an_error(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(
        ValueError,
        match="training.init_from: .*other.pth: expected a checkpoint of nnU-Net's; it has no network_weights",
    ):
        init_from(Network(2), str(tmp_path / "other.pth"))
