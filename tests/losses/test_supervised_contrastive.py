from __future__ import annotations

import math

import pytest
import torch

from nnuda.losses.supervised_contrastive import pool_blocks, supervised_contrastive

FORMS = ("supcon", "literal")


def naive(z: torch.Tensor, label: torch.Tensor, tau: float, form: str) -> float:
    """Equation 4, anchor by anchor; anchors without a positive, and batches of one label, count as 0."""
    z, label = (z / z.norm(dim=1, keepdim=True)).tolist(), label.tolist()
    if len(set(label)) == 1:
        return 0.0

    def similarity(i, j):
        return math.exp(sum(a * b for a, b in zip(z[i], z[j])) / tau)

    total = 0.0
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and label[p] == label[i]]
        contrast = [a for a in range(len(z)) if (label[a] != label[i] if form == "literal" else a != i)]
        for p in positives:
            total -= math.log(similarity(i, p) / sum(similarity(i, a) for a in contrast)) / len(positives)
    return total / len(z)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("label", ["0011011", "0000001", "1111111", "0122115"])
def test_equals_the_naive_loop(form, label):
    torch.manual_seed(0)
    z, label = torch.randn(7, 5, dtype=torch.float64), torch.tensor([int(digit) for digit in label])
    for tau in (0.07, 1.0):
        loss = supervised_contrastive(z, label, tau, form)
        assert loss.item() == pytest.approx(naive(z, label, tau, form), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("label", [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]])
def test_gradcheck(form, label):
    torch.manual_seed(0)
    z = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: supervised_contrastive(z, torch.tensor(label).bool(), 0.5, form), z)


@pytest.mark.parametrize("tau", [0.07, 1.0])
def test_identical_embeddings(tau):
    z, label = torch.ones(4, 3, dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    assert supervised_contrastive(z, label, tau).item() == pytest.approx(1.098612, abs=1e-6)
    assert supervised_contrastive(z, label, tau, "literal").item() == pytest.approx(0.693147, abs=1e-6)


@pytest.mark.parametrize("tau, supcon, literal", [(1.0, 0.239545, -1.306853), (0.1, 4.12e-9, -19.306853)])
def test_antipodal_classes(tau, supcon, literal):
    e = torch.tensor([0.6, 0.8], dtype=torch.float64)
    z, label = torch.stack((e, e, -e, -e)), torch.tensor([False, False, True, True])
    assert supervised_contrastive(z, label, tau).item() == pytest.approx(supcon, rel=1e-3, abs=1e-11)
    assert supervised_contrastive(z, label, tau, "literal").item() == pytest.approx(literal, abs=1e-6)


def test_orthogonal_classes():
    z = torch.eye(2, dtype=torch.float64).repeat_interleave(2, 0)
    assert supervised_contrastive(z, torch.tensor([0, 0, 1, 1]), 1.0).item() == pytest.approx(0.551445, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [0, 1, 4])
def test_one_label_only_is_zero_with_a_graph_and_zero_gradient(form, n):
    z = torch.randn(n, 3, requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):  # no NaN on the way back either
        loss = supervised_contrastive(z, torch.ones(n, dtype=torch.bool), form=form)
        loss.backward()
    assert loss.item() == 0 and torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("form", FORMS)
def test_order_does_not_matter(form):
    torch.manual_seed(0)
    z, label = torch.randn(9, 4, dtype=torch.float64), torch.randint(0, 2, (9,))
    order = torch.randperm(9)
    loss = supervised_contrastive(z, label, form=form)
    assert supervised_contrastive(z[order], label[order], form=form).item() == pytest.approx(loss.item())


@pytest.mark.parametrize("form", FORMS)
def test_embeddings_are_normalised_inside(form):
    torch.manual_seed(0)
    z, label = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 1, 0])
    scaled = z * torch.rand(6, 1, dtype=torch.float64).add(0.1) * 100
    loss = supervised_contrastive(z, label, form=form)
    assert supervised_contrastive(scaled, label, form=form).item() == pytest.approx(loss.item())


def test_descent_separates_the_labels():
    torch.manual_seed(0)
    z, label = torch.randn(8, 4, requires_grad=True), torch.tensor([0, 1] * 4)
    for _ in range(300):
        (gradient,) = torch.autograd.grad(supervised_contrastive(z, label, 0.5), z)
        z = (z - gradient).detach().requires_grad_()
    unit = torch.nn.functional.normalize(z, dim=1)
    similarity = unit @ unit.T
    same = label[:, None] == label
    assert similarity[same].min() > 0.9 and similarity[~same].max() < -0.9


@pytest.mark.parametrize("form", FORMS)
def test_fp16_of_any_size_is_finite(form):
    z = torch.full((4, 128), 6e4, dtype=torch.float16)
    z[2:] *= -1
    z.requires_grad_()
    loss = supervised_contrastive(z, torch.tensor([0, 0, 1, 1]), form=form)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and z.grad.isfinite().all()


def test_autocast_does_not_change_the_value():
    torch.manual_seed(0)
    z, label = torch.randn(8, 16), torch.tensor([0, 1] * 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = supervised_contrastive(z, label)
    assert inside.dtype == torch.float32 and torch.equal(inside, supervised_contrastive(z, label))


def test_wrong_shapes_and_forms_are_named():
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(4,\)"):
        supervised_contrastive(torch.zeros(3, 2), torch.zeros(4))
    with pytest.raises(ValueError, match="'simclr'"):
        supervised_contrastive(torch.zeros(3, 2), torch.zeros(3), form="simclr")


def naive_blocks(features, mask, grid):
    """Block by block with the bounds of torch's adaptive pooling; 2D, the mask at `factor` times the resolution."""
    rows, columns = features.shape[2:]
    factor = mask.shape[1] // rows
    means, occupied = [], []
    for b in range(len(features)):
        for i in range(grid[0]):
            r = slice(i * rows // grid[0], -((-(i + 1) * rows) // grid[0]))
            for j in range(grid[1]):
                c = slice(j * columns // grid[1], -((-(j + 1) * columns) // grid[1]))
                means.append(features[b, :, r, c].mean((1, 2)))
                fine = mask[b, r.start * factor : r.stop * factor, c.start * factor : c.stop * factor]
                occupied.append(fine.any())
    return torch.stack(means), torch.stack(occupied)


@pytest.mark.parametrize("grid", [(2, 2), (4, 3), (3, 5), (1, 1)])
@pytest.mark.parametrize("factor", [1, 4])
def test_blocks_equal_the_naive_loop(grid, factor):
    torch.manual_seed(0)
    features = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    mask = torch.rand(2, 7 * factor, 6 * factor) > 1 - 0.1 / factor**2
    pooled, occupied = pool_blocks(features, mask, grid)
    expected, label = naive_blocks(features, mask, grid)
    assert 0 < label.sum() < len(label) or grid == (1, 1)
    torch.testing.assert_close(pooled, expected)
    assert occupied.dtype == torch.bool and torch.equal(occupied, label)


def test_blocks_of_a_volume():
    features = torch.arange(2 * 4 * 4 * 4, dtype=torch.float32).view(2, 1, 4, 4, 4)
    mask = torch.zeros(2, 4, 16, 16, dtype=torch.bool)
    mask[1, 0, 0, 15] = True
    pooled, occupied = pool_blocks(features, mask, 2)
    assert pooled.shape == (16, 1) and occupied.nonzero().flatten().tolist() == [8 + 1]
    assert pooled[8 + 1].item() == features[1, 0, :2, :2, 2:].mean().item()


def test_grid_never_exceeds_the_features():
    pooled, occupied = pool_blocks(torch.randn(2, 3, 1, 4, 6), torch.zeros(2, 8, 16, 24, dtype=torch.bool), 4)
    assert pooled.shape == (2 * 1 * 4 * 4, 3) and len(occupied) == 2 * 1 * 4 * 4 and not occupied.any()


def test_one_pixel_anywhere_marks_exactly_one_block():
    """A large volume: the share of one voxel in its block's mean must not vanish."""
    mask = torch.zeros(1, 64, 128, 128, dtype=torch.bool)
    mask[0, 63, 127, 127] = True
    _, occupied = pool_blocks(torch.zeros(1, 1, 4, 4, 4), mask, (1, 1, 1))
    assert occupied.tolist() == [True]


def test_gradient_of_blocks_reaches_the_features():
    features = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pool_blocks(x, torch.ones(1, 4, 4, dtype=torch.bool), 2)[0], features)


def test_blocks_of_fp16_are_finite():
    pooled, _ = pool_blocks(torch.full((1, 1, 8, 8), 6e4, dtype=torch.float16), torch.zeros(1, 8, 8), 1)
    assert pooled.dtype == torch.float32 and pooled.item() == pytest.approx(6e4)


def test_wrong_blocks_are_named():
    with pytest.raises(ValueError, match=r"mask \(B, \*S0\)"):
        pool_blocks(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4), 2)
    with pytest.raises(ValueError, match=r"got \[2, 0\]"):
        pool_blocks(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4), (2, 0))
