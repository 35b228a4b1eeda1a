from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from nnuda.losses.prototype_contrast import mean_top_k, prototype_contrast


def full(entries: torch.Tensor) -> torch.Tensor:
    return torch.ones(entries.shape[:2], dtype=torch.bool)


def naive(prototypes, present, entries, filled, k, tau) -> float:
    """Anchor by anchor, class by class, entry by entry."""

    def top(c, l):
        cosines = sorted((torch.dot(c, e).item() for e, f in zip(entries[l], filled[l]) if f), reverse=True)[:k]
        return sum(cosines) / len(cosines)

    known = [l for l in range(len(entries)) if filled[l].any()]
    terms = []
    for image, shown in zip(prototypes, present):
        for c_k, label in zip(image[shown], shown.nonzero().flatten().tolist()):
            if label in known:
                c = c_k / c_k.norm()
                terms.append(-math.log(math.exp(top(c, label) / tau) / sum(math.exp(top(c, l) / tau) for l in known)))
    return sum(terms) / len(terms) if terms else 0.0


def draw(images: int = 3, classes: int = 4, size: int = 7, length: int = 5):
    torch.manual_seed(0)
    prototypes = torch.randn(images, classes, length, dtype=torch.float64)
    entries = F.normalize(torch.randn(classes, size, length, dtype=torch.float64), dim=2)
    present, filled = torch.rand(images, classes) > 0.3, torch.rand(classes, size) > 0.4
    return prototypes, present, entries, filled


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("tau", [0.1, 1.0])
@pytest.mark.parametrize("empty", [False, True])
def test_equals_the_naive_loop(k, tau, empty):
    prototypes, present, entries, filled = draw()
    filled[2] = filled[2] & (not empty)
    arguments = (prototypes, present, entries, filled, k, tau)
    expected = naive(*arguments)
    assert prototype_contrast(*arguments).item() == pytest.approx(expected, abs=1e-12) and expected > 0.1


def test_gradcheck():
    prototypes, present, entries, filled = draw()
    filled[2] = False
    prototypes.requires_grad_()
    assert torch.autograd.gradcheck(lambda c: prototype_contrast(c, present, entries, filled, 3, 0.5), prototypes)


def test_gradient_reaches_the_anchors_of_known_classes_alone():
    prototypes, present, entries, filled = draw()
    filled[2] = False
    prototypes.requires_grad_(), entries.requires_grad_()
    prototype_contrast(prototypes, present, entries, filled, 3).backward()
    assert entries.grad is None
    assert torch.equal(prototypes.grad.abs().sum(2) > 0, present & torch.tensor([True, True, False, True]))


def contrast(vectors: torch.Tensor) -> float:
    """Anchors and 30 entries per class that are all the class's own vector."""
    entries = F.normalize(vectors, dim=1)[:, None].expand(-1, 30, -1)
    present = torch.ones(1, len(vectors), dtype=torch.bool)
    return prototype_contrast(vectors[None], present, entries, full(entries)).item()


def test_closed_forms():
    assert contrast(torch.eye(5)) == pytest.approx(math.log(1 + 4 / math.e), abs=1e-6) == 0.904832
    assert contrast(torch.eye(5) - 1 / 5) == pytest.approx(math.log(1 + 4 * math.exp(-1.25)), abs=1e-6) == 0.763615
    assert contrast(torch.ones(5, 3)) == pytest.approx(math.log(5), abs=1e-6) == 1.609438


def test_one_wrong_entry_among_400_hardly_moves_the_mean_of_the_top_20():
    similarity = torch.zeros(400)
    similarity[123] = 1
    assert mean_top_k(similarity, torch.ones(400).bool(), 1).item() == 1
    assert mean_top_k(similarity, torch.ones(400).bool(), 20).item() == pytest.approx(0.05)


def test_mean_over_all_where_fewer_are_filled():
    similarity = torch.tensor([0.5, -0.3, 0.9, -0.7])
    assert mean_top_k(similarity, torch.tensor([1, 1, 0, 1]).bool(), 20).item() == pytest.approx(-0.5 / 3)
    assert mean_top_k(similarity, torch.zeros(4).bool(), 20).item() == 0


def test_self_match_lowers_the_loss():
    """Why the dictionary takes the prototypes in after the loss."""
    prototypes, present, entries, _ = draw(images=1, size=2)
    present[:] = True
    before = prototype_contrast(prototypes, present, entries, full(entries))
    with_self = torch.cat((entries, F.normalize(prototypes[0], dim=1)[:, None]), 1)
    assert prototype_contrast(prototypes, present, with_self, full(with_self)) < before - 0.1


@pytest.mark.parametrize("nothing", ["anchors", "entries", "both"])
def test_nothing_to_compare_is_zero_with_a_graph_and_zero_gradient(nothing):
    prototypes, present, entries, filled = draw()
    if nothing != "entries":
        present[:] = False
    if nothing != "anchors":
        filled[:] = False
    prototypes.requires_grad_()
    with torch.autograd.set_detect_anomaly(True):
        loss = prototype_contrast(prototypes, present, entries, filled)
        loss.backward()
    assert loss.item() == 0 and torch.equal(prototypes.grad, torch.zeros_like(prototypes))


@pytest.mark.parametrize("value", [0.0, 6e4])
def test_fp16_of_any_size_is_finite(value):
    prototypes = torch.full((1, 2, 8), value, dtype=torch.float16, requires_grad=True)
    entries = F.normalize(torch.randn(2, 4, 8), dim=2)
    loss = prototype_contrast(prototypes, torch.ones(1, 2).bool(), entries, full(entries))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and prototypes.grad.isfinite().all()


def test_autocast_does_not_change_the_value():
    prototypes, present, entries, filled = (t.float() if t.is_floating_point() else t for t in draw())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = prototype_contrast(prototypes, present, entries, filled)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, prototype_contrast(prototypes, present, entries, filled))


def test_wrong_arguments_are_named():
    prototypes, present, entries, filled = draw()
    with pytest.raises(ValueError, match=r"got \(3, 4, 5\), \(3, 4\), \(3, 7, 5\) and \(3, 7\)"):
        prototype_contrast(prototypes, present, entries[1:], filled[1:])
    with pytest.raises(ValueError, match=r"got \(4, 5\)"):
        prototype_contrast(prototypes[0], present[0], entries, filled)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        prototype_contrast(prototypes, present, entries, filled, k=0)
