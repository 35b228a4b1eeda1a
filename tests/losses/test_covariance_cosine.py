from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck

from nnuda.labels import label_masks
from nnuda.losses.class_prototypes import class_sums
from nnuda.losses.covariance_cosine import covariance_cosine
from nnuda.statistics.class_memory import ClassMemory

K = 5
ALL = torch.ones(K, dtype=torch.bool)
SOME = torch.tensor([True, False, True, True, False])


def rows(length: int = 7, seed: int = 0, k: int = K) -> torch.Tensor:
    return torch.randn(k, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def alike(cosine: float, k: int = K) -> torch.Tensor:
    """Unit vectors with this cosine between any two."""
    gram = torch.full((k, k), cosine, dtype=torch.float64).fill_diagonal_(1)
    return torch.linalg.cholesky(gram + 1e-12 * torch.eye(k, dtype=torch.float64))


def naive(p: torch.Tensor, valid: torch.Tensor, t: torch.Tensor, centered: bool, off_diagonal: bool) -> float:
    index = [k for k in range(len(valid)) if valid[k]]
    if len(index) < 2:
        return 0.0
    p, t = ([r[k].tolist() for k in index] for r in (p, t))
    if centered:
        p, t = ([[x - sum(c) / len(index) for x, c in zip(row, zip(*r))] for row in r] for r in (p, t))
    dot = pq = qq = 0.0
    for a in range(len(index)):
        for b in range(len(index)):
            if not (off_diagonal and a == b):
                x, y = (
                    sum(u * v for u, v in zip(r[a], r[b]))
                    / math.sqrt(sum(u * u for u in r[a]) * sum(v * v for v in r[b]))
                    for r in (p, t)
                )
                dot, pq, qq = dot + x * y, pq + x * x, qq + y * y
    return 1 - dot / math.sqrt(pq * qq)


@pytest.mark.parametrize("center", ["class", "none"])
@pytest.mark.parametrize("off_diagonal", [True, False])
@pytest.mark.parametrize("valid", [ALL, SOME, torch.tensor([False] * 4 + [True])], ids=["all", "some", "one"])
def test_equals_the_equation_in_a_loop(center, off_diagonal, valid):
    p, t = rows(), rows(9, 1)
    loss = covariance_cosine(p, valid, t, center, off_diagonal)
    assert loss.item() == pytest.approx(naive(p, valid, t, center == "class", off_diagonal), abs=1e-12)


@pytest.mark.parametrize("center", ["class", "none"])
def test_gradcheck(center):
    assert gradcheck(lambda p: covariance_cosine(p, SOME, rows(9, 1), center), rows().requires_grad_())


@pytest.mark.parametrize("center", ["class", "none"])
@pytest.mark.parametrize("off_diagonal", [True, False])
def test_zero_for_the_text_itself_rotated_and_scaled(center, off_diagonal):
    text = rows()
    turn = torch.linalg.qr(rows(7, 2, 7))[0]
    for image in (text, text @ turn, 300 * text @ turn, 1e-4 * text):
        assert covariance_cosine(image, ALL, text, center, off_diagonal).item() == pytest.approx(0, abs=1e-6)


def test_without_centring_each_row_may_have_any_scale():
    text = rows()
    assert covariance_cosine(
        text * torch.tensor([[0.1], [3], [1], [20], [7]]), ALL, text, "none"
    ).item() == pytest.approx(0, abs=1e-12)


def test_orthonormal_image_and_equal_texts():
    image, text = torch.eye(K, dtype=torch.float64), torch.ones(K, 3, dtype=torch.float64)
    expected = 1 - 1 / math.sqrt(K)
    assert covariance_cosine(image, ALL, text, "none").item() == pytest.approx(expected, abs=1e-9)
    assert covariance_cosine(text, ALL, image, "none").item() == pytest.approx(expected, abs=1e-9)


def test_two_classes():
    a, b = 0.2, 0.9
    both = torch.ones(2, dtype=torch.bool)
    assert covariance_cosine(alike(a, 2), both, alike(b, 2), "none").item() == pytest.approx(0.139945, abs=1e-6)
    centered = alike(a, 2).requires_grad_()
    loss = covariance_cosine(centered, both, alike(b, 2))
    loss.backward()
    # what two classes cannot tell
    assert loss.item() == pytest.approx(0, abs=1e-12) and centered.grad.abs().max() < 1e-9


@pytest.mark.parametrize(
    "cosine, collapsed, orthogonal", [(0.7, 0.0122, 0.4188), (0.8, 0.0045, 0.4700), (0.9, 0.0009, 0.5144)]
)
def test_collapse_scores_well_as_printed_and_not_by_default(cosine, collapsed, orthogonal):
    text, same = alike(cosine), torch.ones(K, 6, dtype=torch.float64)
    distinct = torch.eye(K, dtype=torch.float64)
    assert covariance_cosine(same, ALL, text, "none").item() == pytest.approx(collapsed, abs=1e-4)
    assert covariance_cosine(distinct, ALL, text, "none").item() == pytest.approx(orthogonal, abs=1e-4)
    assert covariance_cosine(same, ALL, text).item() == pytest.approx(1)
    # all of them equally far apart, as the texts are
    assert covariance_cosine(distinct, ALL, text).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
@pytest.mark.parametrize("off_diagonal", [True, False])
def test_collapse_up_to_rounding_does_not_score_well_in_float32(scale, off_diagonal):
    torch.manual_seed(0)
    same = scale * (torch.randn(1, 320) * (1 + 1e-7 * torch.randn(K, 320)))
    same.requires_grad_()
    loss = covariance_cosine(same, ALL, alike(0.8).float(), off_diagonal=off_diagonal)
    loss.backward()
    assert loss.item() > 0.95 and same.grad.isfinite().all()


def test_minimising_leaves_classes_apart_with_centring_only():
    text = alike(0.92).float()
    for center, apart in (("class", True), ("none", False)):
        torch.manual_seed(0)
        image = torch.randn(K, 16, requires_grad=True)
        optimizer = torch.optim.Adam([image], 0.05)
        for _ in range(300):
            optimizer.zero_grad()
            loss = covariance_cosine(image, ALL, text, center)
            loss.backward()
            optimizer.step()
        unit = torch.nn.functional.normalize(image.detach(), dim=1)
        mean = (unit @ unit.T)[~torch.eye(K, dtype=torch.bool)].mean().item()
        assert loss.item() < 0.01 and (mean < 0.3 if apart else mean > 0.8), (center, mean)


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_step_changes_the_network_and_never_the_text(dimension):
    """The release's gradient reached a text projection alone."""
    torch.manual_seed(0)
    conv = (torch.nn.Conv2d, torch.nn.Conv3d)[dimension - 2](1, 6, 3, padding=1)
    text, memory = torch.randn(4, 8, requires_grad=True), ClassMemory(4, 6, 0.5)
    memory.update(torch.randn(4, 6), torch.tensor([False, False, False, True]))  # class 3: remembered, not shown
    image, label = torch.randn(2, 1, *[6] * dimension), torch.randint(3, (2, 1, *[6] * dimension))
    features = conv(image)
    features.retain_grad()
    prototypes, valid = memory.blend(*class_sums(features, label_masks(label, 4, features.shape[2:])))
    prototypes.retain_grad()
    before = conv.weight.detach().clone()
    covariance_cosine(prototypes, valid, text).backward()
    memory.update(prototypes, valid)
    torch.optim.SGD([conv.weight], 1).step()
    assert valid.all() and text.grad is None
    for k in range(3):
        assert features.grad.movedim(1, -1)[label[:, 0] == k].abs().sum() > 0
    assert (conv.weight - before).abs().max() > 1e-4 and torch.equal(memory.mean, prototypes)


def test_a_class_that_is_only_remembered_gives_no_gradient():
    memory = ClassMemory(3, 4, 0.5)
    memory.update(torch.randn(3, 4), torch.ones(3, dtype=torch.bool))
    sums = torch.randn(3, 4, requires_grad=True)
    covariance_cosine(*memory.blend(sums, torch.tensor([2.0, 1.0, 0.0])), torch.randn(3, 5)).backward()
    assert (sums.grad[:2].abs().sum(1) > 0).all() and (sums.grad[2] == 0).all()


@pytest.mark.parametrize("center", ["class", "none"])
@pytest.mark.parametrize("number", [0, 1])
def test_fewer_than_two_classes_give_zero_with_a_graph(center, number):
    p = rows().float().requires_grad_()
    loss = covariance_cosine(p, torch.arange(K) < number, rows(9).float(), center)
    loss.backward()
    assert loss.item() == 0 and torch.equal(p.grad, torch.zeros_like(p))


def test_half_precision_is_taken_in_full():
    p, t = rows().half(), rows(9, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = covariance_cosine(p, ALL, t.float())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(naive(p.double(), ALL, t, True, False), abs=1e-5)


@pytest.mark.parametrize("p, v, t", [((4, 3), (4,), (5, 3)), ((4, 3), (3,), (4, 3)), ((4, 3, 1), (4,), (4, 3))])
def test_refuses_other_shapes(p, v, t):
    with pytest.raises(ValueError, match="expects prototypes"):
        covariance_cosine(torch.zeros(p), torch.ones(v, dtype=torch.bool), torch.zeros(t))
    with pytest.raises(ValueError, match="'class' or 'none', got 'row'"):
        covariance_cosine(rows(), ALL, rows(), "row")
