from __future__ import annotations

import math

import pytest
import torch

from nnuda.losses.entropy import entropy, entropy_terms
from nnuda.losses.uncertain_pseudo_label import FLOOR, uncertain_pseudo_label_loss

TARGETS = ("hard", "soft_detached", "literal")
EPS = 1e-5


def binary_logits(p: list[float], shape: tuple[int, ...] = (1, 2, 2)) -> torch.Tensor:
    """Two-class logits, (B, 2, *S), of the given foreground probabilities."""
    p = torch.tensor(p, dtype=torch.float64).view(shape)
    return torch.stack(((1 - p).log(), p.log()), 1)


def naive(logits: torch.Tensor, chi: float, target: str, regions: bool) -> float:
    """Equations 5 to 8, voxel by voxel."""
    logits = logits.flatten(2)
    total = 0.0
    for b in range(len(logits)):
        voxels = []
        for z in logits[b].T.tolist():
            if regions:
                voxels.append([1 / (1 + math.exp(-v)) for v in z])
            else:
                voxels.append([math.exp(v) / sum(math.exp(w) for w in z) for v in z])
        dices = []
        for c in range(0 if regions else 1, len(voxels[0])):
            intersection, label_sum, prediction_sum = 0.0, 0.0, 0.0
            for p in voxels:
                if target == "literal":
                    terms = [p[c]]
                else:
                    terms = [p[c], 1 - p[c]] if regions else p
                if -sum(q * math.log(q + 1e-9) for q in terms) >= chi:
                    continue
                if target == "hard":
                    y = float(p[c] > 0.5) if regions else float(p[c] == max(p))
                else:
                    y = p[c]
                intersection, label_sum, prediction_sum = intersection + y * p[c], label_sum + y, prediction_sum + p[c]
            if label_sum > 0:
                dices.append(1 - (2 * intersection + EPS) / (label_sum + prediction_sum + EPS))
        total += sum(dices) / len(dices) if dices else 0.0
    return total / len(logits)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 3, 4), (2, 2, 2, 3, 2)])
def test_equals_the_naive_loop(target, regions, shape):
    torch.manual_seed(0)
    logits = 3 * torch.randn(shape, dtype=torch.float64)
    for chi in (0.05, 0.3, 0.6, math.inf):
        loss = uncertain_pseudo_label_loss(logits, chi, target, regions)
        assert loss.item() == pytest.approx(naive(logits, chi, target, regions), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "regions, shape, target, chi",
    [
        (False, (2, 2, 3, 4), "hard", 0.2),
        (False, (2, 4, 3, 4), "hard", 0.4),
        (False, (2, 4, 3, 4), "literal", 0.2),
        (True, (2, 3, 3, 4), "hard", 0.2),
    ],
)
def test_default_chi(regions, shape, target, chi):
    """0.2 nats for a binary decision, 0.2 log(C) / log(2) for C classes: 0.4 for 4."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(shape, dtype=torch.float64)
    loss = uncertain_pseudo_label_loss(logits, target=target, regions=regions).item()
    assert loss == pytest.approx(naive(logits, chi, target, regions), rel=1e-9)
    assert loss != pytest.approx(naive(logits, chi / 3, target, regions), rel=1e-3)


@pytest.mark.parametrize("regions", [False, True])
def test_gradcheck(regions):
    """Only the literal form's gradient is that of its value; the other targets are constants, checked below."""
    torch.manual_seed(0)
    logits = (3 * torch.randn(2, 3, 2, 3, dtype=torch.float64)).requires_grad_()
    chi = 0.3
    assert torch.autograd.gradcheck(lambda x: uncertain_pseudo_label_loss(x, chi, "literal", regions), logits)
    assert torch.autograd.gradcheck(lambda x: uncertain_pseudo_label_loss(x, chi, "hard", regions), logits)


def test_soft_label_is_detached():
    """Constant p over n voxels: d/dp of 1 - (2 n y p + eps) / (n y + n p + eps) at y = p is -1/2, literal -1."""
    p = torch.full((1, 1, 4, 4), 0.7, dtype=torch.float64)
    for target, slope in (("soft_detached", -0.5), ("literal", -1.0)):
        logits = torch.logit(p).requires_grad_()
        uncertain_pseudo_label_loss(logits, 10.0, target, regions=True).backward()
        assert logits.grad.sum().item() == pytest.approx(slope * 0.7 * 0.3, rel=1e-4)


def test_hard_label_and_mask_are_detached():
    """The gradient is that of a Dice with a constant label and a constant mask."""
    torch.manual_seed(0)
    logits = (3 * torch.randn(2, 3, 4, 4, dtype=torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(uncertain_pseudo_label_loss(logits, 0.3), logits)
    p = logits.softmax(1)
    mask = (-(p * p.log()).sum(1) < 0.3).detach()
    dice = []
    for b in range(2):
        of_classes = []
        for c in (1, 2):
            y = ((p[b].argmax(0) == c) & mask[b]).double()
            if y.sum() > 0:
                of_classes.append(1 - (2 * (y * p[b, c]).sum() + EPS) / (y.sum() + (mask[b] * p[b, c]).sum() + EPS))
        dice.append(sum(of_classes) / len(of_classes))
    (expected,) = torch.autograd.grad(sum(dice) / 2, logits)
    torch.testing.assert_close(gradient, expected)
    assert (gradient.abs().sum(1)[~mask] == 0).all() and (gradient.abs().sum(1)[mask] > 0).all()


def test_entropy_closed_forms():
    p = torch.linspace(0.001, 0.999, 9981, dtype=torch.float64)
    both = torch.stack((p, 1 - p))[None]
    term = entropy_terms(both, FLOOR)[0, 0]
    assert term.max().item() == pytest.approx(0.367879, abs=1e-6)
    assert p[term.argmax()].item() == pytest.approx(0.367879, abs=1e-3)
    total = entropy(both, floor=FLOOR)[0]
    assert total.shape == p.shape and total.max().item() == pytest.approx(0.693147, abs=1e-6)
    assert p[total.argmax()].item() == pytest.approx(0.5)
    for chi, largest in ((0.1, 0.97949), (0.2, 0.94949), (0.3, 0.91109), (0.5, 0.80029)):
        certain = torch.maximum(p, 1 - p)[total < chi]
        assert certain.min().item() == pytest.approx(largest, abs=2e-4)
    accepted = p[term < 0.2]
    assert accepted[accepted < 0.5].max().item() == pytest.approx(0.07866, abs=2e-4)
    assert accepted[accepted > 0.5].min().item() == pytest.approx(0.77169, abs=2e-4)


def test_entropy_of_zeros_and_ones_is_finite():
    p = torch.tensor([0.0, 1.0]).view(1, 2, 1).requires_grad_()
    entropy(p, floor=FLOOR).sum().backward()
    assert entropy(p, floor=FLOOR).item() == pytest.approx(0, abs=1e-8) and p.grad.isfinite().all()


@pytest.mark.parametrize("m", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("target", ["soft_detached", "literal"])
def test_soft_self_target_of_a_constant_is_1_minus_it(m, target):
    logits = binary_logits([m] * 400, (1, 20, 20))
    assert uncertain_pseudo_label_loss(logits, 10.0, target).item() == pytest.approx(1 - m, abs=1e-6)


@pytest.mark.parametrize("target, value", [("hard", 0.128205), ("soft_detached", 0.215789)])
def test_four_voxels_by_hand(target, value):
    """p = (.9, .8, .2, .6); chi = 0.6 nats leaves the last voxel out. Repeated so that eps is beneath the digits."""
    logits = binary_logits([0.9, 0.8, 0.2, 0.6] * 100, (1, 20, 20))
    assert uncertain_pseudo_label_loss(logits, 0.6, target).item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("regions", [False, True])
def test_nothing_certain_is_zero_with_a_graph_and_zero_gradient(target, regions):
    logits = (0.01 * torch.randn(2, 3, 4, 4)).requires_grad_()
    loss = uncertain_pseudo_label_loss(logits, 0.01, target, regions)
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


def test_certain_background_alone_is_zero_with_zero_gradient():
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 0] = 20
    logits.requires_grad_()
    loss = uncertain_pseudo_label_loss(logits)
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("target", TARGETS)
def test_a_one_hot_prediction_has_no_loss(target):
    label = torch.randint(0, 3, (2, 5, 5))
    label[:, 0, 0], label[:, 0, 1] = 1, 2
    logits = 200 * torch.nn.functional.one_hot(label, 3).movedim(-1, 1).double()
    assert uncertain_pseudo_label_loss(logits, target=target).item() == pytest.approx(0, abs=1e-6)


def test_an_absent_class_is_left_out_of_the_mean():
    two = binary_logits([0.97, 0.96, 0.03, 0.99])
    never = torch.full_like(two[:, :1], -60.0)
    with_absent = uncertain_pseudo_label_loss(torch.cat((two, never), 1), 0.2)
    assert with_absent.item() == pytest.approx(uncertain_pseudo_label_loss(two, 0.2).item()) and with_absent > 0


def test_a_sample_without_pseudo_foreground_counts_as_zero():
    some, none = binary_logits([0.97, 0.96, 0.03, 0.99]), binary_logits([0.01] * 4)
    loss = uncertain_pseudo_label_loss(torch.cat((some, none)))
    assert loss.item() == pytest.approx(uncertain_pseudo_label_loss(some).item() / 2)


def test_regions_overlap_freely_and_have_their_own_masks():
    """Each region equals a two-class problem of its own."""
    torch.manual_seed(0)
    p = torch.rand(3, 16, dtype=torch.float64)
    logits = torch.logit(p).view(1, 3, 4, 4)
    alone = [uncertain_pseudo_label_loss(binary_logits(q.tolist(), (1, 4, 4)), 0.5).item() for q in p]
    assert all(value > 0 for value in alone)
    assert uncertain_pseudo_label_loss(logits, 0.5, regions=True).item() == pytest.approx(sum(alone) / 3)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (2, 3, 4, 4, 4)])
def test_fp16_of_any_size_is_finite(target, regions, shape):
    logits = (6e4 * torch.randint(-1, 2, shape)).half().requires_grad_()
    loss = uncertain_pseudo_label_loss(logits, target=target, regions=regions)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and logits.grad.isfinite().all()


def test_autocast_does_not_change_the_value():
    torch.manual_seed(0)
    logits = 3 * torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = uncertain_pseudo_label_loss(logits)
    assert torch.equal(inside, uncertain_pseudo_label_loss(logits))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"got \(2, 1, 4, 4\)"):
        uncertain_pseudo_label_loss(torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match="'soft'"):
        uncertain_pseudo_label_loss(torch.zeros(2, 2, 4, 4), target="soft")
