from __future__ import annotations

import pytest
import torch

from nnuda.statistics.class_confidence import ClassConfidence


def naive_means(probability: torch.Tensor, regions: bool) -> list[float | None]:
    """Voxel by voxel: the mean probability of what is called each class; None for a class that nothing is called."""
    voxels = probability.movedim(1, -1).flatten(0, -2).tolist()
    means: list[float | None] = []
    for c in range(probability.shape[1]):
        values = [p[c] for p in voxels if (p[c] > 0.5 if regions else p[c] == max(p))]
        means.append(sum(values) / len(values) if values else None)
    return means


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)])
def test_equals_a_naive_loop_over_two_batches(regions, size):
    torch.manual_seed(0)
    confidence, expected = ClassConfidence(3, tau=0.9, floor=0.1, momentum=0.7), [None] * 3
    for _ in range(2):
        logits = torch.randn(2, 3, *size) * 2
        probability = logits.sigmoid() if regions else logits.softmax(1)
        confidence.update(probability, regions)
        batch = naive_means(probability, regions)
        expected = [b if e is None else 0.7 * e + 0.3 * b for e, b in zip(expected, batch)]
    assert confidence.mean.tolist() == pytest.approx(expected, rel=1e-5)
    assert confidence.compute().tolist() == pytest.approx([max(0.1, 0.9 * m / max(expected)) for m in expected])


def test_a_class_that_is_not_seen_keeps_its_mean():
    confidence = ClassConfidence(3, tau=0.9, floor=0.6)
    confidence.update(torch.tensor([0.8, 0.2, 0.0]).view(1, 3, 1, 1))
    assert confidence.mean.tolist() == pytest.approx([0.8, 1.0, 1.0])
    confidence.update(torch.tensor([0.1, 0.9, 0.0]).view(1, 3, 1, 1))
    assert confidence.mean.tolist() == pytest.approx([0.8, 0.9, 1.0])


def test_thresholds_lie_between_floor_and_tau():
    confidence = ClassConfidence(2, tau=0.9, floor=0.6)
    confidence.mean.copy_(torch.tensor([1.0, 0.3]))
    assert confidence.compute().tolist() == pytest.approx([0.9, 0.6])
    assert ClassConfidence(2, tau=0.3, floor=0.6).compute().tolist() == pytest.approx([0.3, 0.3])


def test_it_continues_from_its_state():
    one, other = ClassConfidence(2, 0.9, 0.6), ClassConfidence(2, 0.9, 0.6)
    one.update(torch.rand(1, 2, 4, 4).softmax(1))
    other.load_state_dict(one.state_dict())
    batch = torch.rand(1, 2, 4, 4).softmax(1)
    one.update(batch)
    other.update(batch)
    assert torch.equal(one.mean, other.mean)
