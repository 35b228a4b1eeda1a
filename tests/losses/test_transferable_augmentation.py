from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.transferable_augmentation import (
    augmentation_table,
    limit_table,
    region_augmentation_table,
    region_transferable_cross_entropy,
    transferable_cross_entropy,
)

C, A = 4, 6


def random_case(
    voxels: int = 7, classes: int = C, channels: int = A, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    torch.manual_seed(0)
    root = torch.randn(classes, channels, channels, dtype=dtype)
    return {
        "f": torch.randn(voxels, channels, dtype=dtype),
        "w": torch.randn(classes, channels, dtype=dtype),
        "b": torch.randn(classes, dtype=dtype),
        "shift": torch.randn(classes, channels, dtype=dtype),
        "covariance": root @ root.mT / channels,
        "y": torch.randint(classes, (voxels,)),
    }


def loss_of(case: dict[str, Tensor], strength: float) -> Tensor:
    logits = case["f"] @ case["w"].T + case["b"]
    return transferable_cross_entropy(
        logits, case["y"], augmentation_table(case["w"], case["shift"], case["covariance"], strength)
    )


def naive(case: dict[str, Tensor], strength: float) -> Tensor:
    """Voxel by voxel: log of the sum over classes of E exp(a^T f~ + b_c - b_y), f~ Gaussian."""
    losses = []
    for f, y in zip(case["f"], case["y"]):
        exponents = []
        for c in range(len(case["w"])):
            a = case["w"][c] - case["w"][y]
            mean = a @ (f + strength * case["shift"][y]) + case["b"][c] - case["b"][y]
            exponents.append(mean + strength / 2 * a @ case["covariance"][y] @ a)
        losses.append(torch.stack(exponents).exp().sum().log())
    return torch.stack(losses).mean()


def per_voxel(logits: Tensor, w: Tensor, y: Tensor, shift: Tensor, covariance: Tensor, strength: float) -> Tensor:
    """As ISDA and TSA write it: differences of classifiers and a covariance for each voxel."""
    difference = w[None] - w[y][:, None]
    quadratic = torch.einsum("nca,nab,ncb->nc", difference, covariance[y], difference)
    linear = torch.einsum("nca,na->nc", difference, shift[y])
    return F.cross_entropy(logits + strength * linear + strength / 2 * quadratic, y)


def with_gradient(case: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone().requires_grad_(name in "fwb") for name, value in case.items()}


def gradients(loss: Tensor, case: dict[str, Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [case[name] for name in "fwb"]))


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_equals_the_naive_loop_with_gradients(strength):
    case = with_gradient(random_case())
    loss, expected = loss_of(case, strength), naive(case, strength)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients(loss, case), gradients(expected, case), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("off", ["strength", "statistics"])
def test_without_augmentation_it_is_cross_entropy(off):
    case = random_case()
    if off == "statistics":
        case |= {"shift": torch.zeros_like(case["shift"]), "covariance": torch.zeros_like(case["covariance"])}
    case = with_gradient(case)
    loss = loss_of(case, 0.0 if off == "strength" else 0.25)
    expected = F.cross_entropy(case["f"] @ case["w"].T + case["b"], case["y"])
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, case), gradients(expected, case))


def test_table_has_a_zero_diagonal_and_a_covariance_only_adds():
    case = random_case()
    table = augmentation_table(case["w"], case["shift"], case["covariance"], 0.25)
    assert torch.equal(table.diagonal(), torch.zeros(C, dtype=torch.float64))
    quadratic = augmentation_table(case["w"], torch.zeros_like(case["shift"]), case["covariance"], 0.25)
    assert (quadratic >= 0).all() and quadratic.sum() > 0
    case["shift"] = torch.zeros_like(case["shift"])
    assert loss_of(case, 0.25) > loss_of(case, 0.0)


def test_two_classes_by_hand():
    """log(1 + exp(lambda a dmu + lambda a^2 sigma / 2)) = log(1 + e^(0.125 + 0.25))."""
    w = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    table = augmentation_table(w, torch.tensor([[0.5, 0.0], [0.0, 0.0]]), 2 * torch.eye(2).expand(2, 2, 2), 0.25)
    loss = transferable_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), table)
    assert loss.item() == pytest.approx(0.898123, abs=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_bounds_the_expectation_over_sampled_features(strength):
    torch.manual_seed(1)
    case, samples = random_case(voxels=5), 200_000
    table = augmentation_table(case["w"], case["shift"], case["covariance"], strength)
    for f, y in zip(case["f"], case["y"]):
        root = torch.linalg.cholesky(strength * case["covariance"][y] + 1e-12 * torch.eye(A))
        moved = f + strength * case["shift"][y] + torch.randn(samples, A, dtype=torch.float64) @ root.T
        losses = F.cross_entropy(moved @ case["w"].T + case["b"], y.expand(samples), reduction="none")
        bound = transferable_cross_entropy((f @ case["w"].T + case["b"])[None], y[None], table)
        error = losses.std() / samples**0.5
        assert losses.mean() <= bound + 3 * error
        if strength == 0:
            torch.testing.assert_close(losses.mean(), bound, atol=1e-4, rtol=0)


def test_is_tight_without_covariance():
    case = random_case()
    case["covariance"] = torch.zeros_like(case["covariance"])
    moved = case["f"] + 0.7 * case["shift"][case["y"]]
    torch.testing.assert_close(loss_of(case, 0.7), F.cross_entropy(moved @ case["w"].T + case["b"], case["y"]))


def test_a_common_vector_and_the_bias_change_nothing_else():
    case = random_case()
    moved = {**case, "w": case["w"] + torch.randn(A, dtype=torch.float64)}
    torch.testing.assert_close(loss_of(moved, 0.25), loss_of(case, 0.25))
    table = augmentation_table(case["w"], case["shift"], case["covariance"], 0.25)
    logits, bias = case["f"] @ case["w"].T, torch.randn(C, dtype=torch.float64)
    shifted = transferable_cross_entropy(logits + bias, case["y"], table)
    torch.testing.assert_close(shifted, F.cross_entropy(logits + bias + table[case["y"]], case["y"]))


def test_voxel_order_does_not_matter():
    case, order = random_case(), torch.randperm(7)
    torch.testing.assert_close(
        loss_of({**case, "f": case["f"][order], "y": case["y"][order]}, 0.25), loss_of(case, 0.25)
    )


def test_an_unseen_class_gets_plain_cross_entropy():
    case = random_case()
    shift, covariance = case["shift"].clone(), case["covariance"].clone()
    shift[2], covariance[2] = 0, 0
    table = augmentation_table(case["w"], shift, covariance, 0.25)
    assert torch.equal(table[2], torch.zeros(C, dtype=torch.float64)) and table[1].abs().sum() > 0


def test_diagonal_equals_full_where_the_covariance_is_diagonal():
    case = random_case()
    variance = torch.rand(C, A, dtype=torch.float64)
    torch.testing.assert_close(
        augmentation_table(case["w"], case["shift"], variance, 0.25),
        augmentation_table(case["w"], case["shift"], torch.diag_embed(variance), 0.25),
    )


def test_classifier_learns_from_the_bound_and_statistics_do_not():
    case = with_gradient(random_case())
    with_table, without = gradients(loss_of(case, 0.25), case), gradients(loss_of(case, 0.0), case)
    assert not torch.allclose(with_table[1], without[1])
    assert not case["shift"].requires_grad and not case["covariance"].requires_grad


@pytest.mark.parametrize("shape", [(2, C, 3, 4), (2, C, 2, 3, 2)])
def test_gradcheck_on_images(shape):
    case = random_case()
    logits = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    label = torch.randint(C, (shape[0], *shape[2:]))
    label[0, 0] = -1
    w = case["w"].requires_grad_()

    def loss(z: Tensor, w: Tensor) -> Tensor:
        return transferable_cross_entropy(
            z, label, augmentation_table(w, case["shift"], case["covariance"], 0.25), ignore_index=-1
        )

    assert torch.autograd.gradcheck(loss, (logits, w))
    z, y = logits.movedim(1, -1)[label >= 0], label[label >= 0]
    torch.testing.assert_close(loss(logits, w), per_voxel(z, w, y, case["shift"], case["covariance"], 0.25))


def test_limit_lowers_the_strength_and_never_raises_it():
    case = random_case()
    table = augmentation_table(case["w"], case["shift"], case["covariance"], 5.0)
    largest = table.abs().max()
    assert largest > 10
    torch.testing.assert_close(
        limit_table(table, 10), augmentation_table(case["w"], case["shift"], case["covariance"], 50.0 / largest.item())
    )
    torch.testing.assert_close(limit_table(table, 2 * largest.item()), table)
    assert torch.equal(limit_table(torch.zeros(C, C), 10), torch.zeros(C, C))


# ---- regions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_region_is_a_two_class_problem(covariance):
    case = random_case(classes=3)
    shift = torch.randn(3, 2, A, dtype=torch.float64)
    sigma = torch.stack((case["covariance"], 2 * case["covariance"]), 1)
    if covariance == "diagonal":
        sigma = sigma.diagonal(dim1=2, dim2=3)
    table = region_augmentation_table(case["w"], shift, sigma, 0.25)
    regions = torch.rand(7, 3) > 0.5
    logits = case["f"] @ case["w"].T + case["b"]
    expected = []
    for r in range(3):
        two_classes = torch.stack((torch.zeros(A, dtype=torch.float64), case["w"][r]))
        t = augmentation_table(two_classes, shift[r], sigma[r], 0.25)
        z = torch.stack((torch.zeros_like(logits[:, r]), logits[:, r]), 1)
        expected.append(transferable_cross_entropy(z, regions[:, r].long(), t))
    torch.testing.assert_close(region_transferable_cross_entropy(logits, regions, table), torch.stack(expected).mean())


def test_regions_without_augmentation_are_nnunets_loss():
    """nnU-Net with an ignore label: the sum over regions, the mean over labelled voxels."""
    z, y, kept = torch.randn(2, 3, 4, 4), torch.rand(2, 3, 4, 4) > 0.5, torch.rand(2, 1, 4, 4) > 0.3
    plain = F.binary_cross_entropy_with_logits(z, y.float(), reduction="none")
    torch.testing.assert_close(region_transferable_cross_entropy(z, y, torch.zeros(3, 2)), plain.mean())
    torch.testing.assert_close(
        region_transferable_cross_entropy(z, y, torch.zeros(3, 2), kept), (plain * kept).sum() / kept.sum()
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_finite_where_all_is_ignored_one_voxel_or_half_precision(dtype):
    table = torch.zeros(3, 3).fill_(5)
    z = torch.full((1, 3, 1, 1), 60000.0 if dtype == torch.float16 else 1.0, dtype=dtype, requires_grad=True)
    for label in (-100, 1):
        loss = transferable_cross_entropy(z, torch.full((1, 1, 1), label), table)
        loss.backward()
        assert loss.isfinite() and z.grad.isfinite().all()
    assert transferable_cross_entropy(z, torch.full((1, 1, 1), -100), table).item() == 0
    kept = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    assert region_transferable_cross_entropy(z, torch.ones(1, 3, 1, 1), torch.zeros(3, 2), kept).item() == 0


@pytest.mark.slow
def test_table_is_forty_times_faster_than_covariances_for_each_voxel():
    """65,536 voxels, C = 5, F = 32, forward and backward; on one thread, the best of several."""
    case = random_case(65_536, 5, 32, torch.float32)
    logits = case["f"] @ case["w"].T + case["b"]
    shift, covariance, y = case["shift"], case["covariance"], case["y"]

    def seconds(loss, repeats: int) -> float:
        z, w = logits.clone().requires_grad_(), case["w"].clone().requires_grad_()
        times = []
        for _ in range(repeats):
            start = time.process_time()
            loss(z, w).backward()
            times.append(time.process_time() - start)
        return min(times)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        table = seconds(
            lambda z, w: transferable_cross_entropy(z, y, augmentation_table(w, shift, covariance, 0.25)), 7
        )
        voxel = seconds(lambda z, w: per_voxel(z, w, y, shift, covariance, 0.25), 2)
    finally:
        torch.set_num_threads(threads)
    assert voxel > 40 * table, f"{voxel:.3f} s against {table:.4f} s"
