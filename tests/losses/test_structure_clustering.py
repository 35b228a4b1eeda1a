from __future__ import annotations

import pytest
import torch

from nnuda.losses.structure_clustering import structure_clustering


def naive(features: torch.Tensor, assignment: torch.Tensor, tau: float, form: str) -> float:
    unit = [f / f.norm() for f in features]
    affinity = [[(a @ b).item() for b in unit] for a in unit]
    largest = max(max(row) for row in affinity)
    total = 0.0
    for i in range(len(unit)):
        for j in range(len(unit)):
            weight = affinity[i][j] - largest / tau if form == "margin" else (affinity[i][j] - largest) / tau
            total -= weight * (assignment[i] @ assignment[j]).item()
    return total / len(unit) ** 2


def case() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(7, 4, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64).softmax(1)


@pytest.mark.parametrize("form", ["margin", "printed"])
def test_equals_the_naive_loop_and_gradcheck(form):
    features, assignment = case()
    assert structure_clustering(features, assignment, 1.7, form).item() == pytest.approx(
        naive(features, assignment, 1.7, form), rel=1e-9
    )
    inputs = (features.requires_grad_(), assignment.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, s: structure_clustering(f, s, 1.7, form), inputs)


def test_margin_rewards_the_true_clusters_and_printed_rewards_taking_everything_apart():
    features = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    together, true, apart = (torch.eye(4)[columns] for columns in ([0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 3]))
    margin, printed = (
        [structure_clustering(features, s, 2.0, form).item() for s in (together, true, apart)]
        for form in ("margin", "printed")
    )
    assert margin[1] < margin[0] and margin[1] < margin[2] and margin[1] == pytest.approx(-0.25)
    # nothing is gained by putting alike ones together
    assert min(printed) == printed[2] == printed[1] == 0 and printed[0] > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_finite_for_one_position_and_zero_features(dtype):
    for features in (torch.zeros(3, 4, dtype=dtype), torch.full((1, 4), 60000.0, dtype=dtype)):
        features.requires_grad_()
        loss = structure_clustering(features, torch.ones(len(features), 2).softmax(1))
        loss.backward()
        assert loss.isfinite() and features.grad.isfinite().all()


def test_refuses_another_form():
    with pytest.raises(ValueError, match="margin or printed; got 'modularity'"):
        structure_clustering(*case(), form="modularity")
