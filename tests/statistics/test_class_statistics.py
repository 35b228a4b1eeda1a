from __future__ import annotations

import pytest
import torch
from two_processes import in_two_processes

from nnuda.statistics.class_statistics import COUNT_LIMIT, ClassStatistics, class_moments, sample_classes

K, F = 3, 4


def data(n: int = 400, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    label = torch.randint(K, (n,))
    return (torch.randn(n, F, dtype=dtype) @ torch.randn(F, F, dtype=dtype) + 5 * label[:, None]).to(dtype), label


def by_class(features: torch.Tensor, label: torch.Tensor) -> list[torch.Tensor]:
    return [features[label == k] for k in range(K)]


def expected(features: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    parts = by_class(features, label)
    return torch.stack([p.mean(0) for p in parts]), torch.stack([torch.cov(p.T, correction=0) for p in parts])


@pytest.mark.parametrize("sizes", [[400], [100] * 4, [1, 2, 3, 94, 300], [1] * 400])
def test_any_partition_gives_the_whole_datas_moments(sizes):
    features, label = data()
    statistics = ClassStatistics(K, F, momentum=1).double()
    for part_f, part_y in zip(features.split(sizes), label.split(sizes)):
        statistics.update(by_class(part_f, part_y))
    mean, covariance = expected(features, label)
    torch.testing.assert_close(statistics.mean, mean, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(statistics.covariance, covariance, atol=1e-12, rtol=1e-12)
    assert statistics.count.tolist() == [(label == k).sum() for k in range(K)]


def test_diagonal_is_the_diagonal_of_full():
    features, label = data()
    full, diagonal = (ClassStatistics(K, F, covariance, 0.9).double() for covariance in ("full", "diagonal"))
    for part_f, part_y in zip(features.split(50), label.split(50)):
        full.update(by_class(part_f, part_y))
        diagonal.update(by_class(part_f, part_y))
    torch.testing.assert_close(diagonal.covariance, full.covariance.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(diagonal.mean, full.mean)


def test_a_moving_average_forgets_but_agrees_on_constant_data():
    torch.manual_seed(0)
    statistics = ClassStatistics(1, F, momentum=0.9).double()
    root = torch.randn(F, F, dtype=torch.float64)
    statistics.update([torch.randn(500, F, dtype=torch.float64) + 100])  # what a random network had shown
    for _ in range(300):
        statistics.update([torch.randn(500, F, dtype=torch.float64) @ root + 3])
    torch.testing.assert_close(statistics.mean[0], torch.full((F,), 3.0, dtype=torch.float64), atol=0.15, rtol=0)
    torch.testing.assert_close(statistics.covariance[0], root.T @ root, atol=0.4, rtol=0.1)


def test_the_distance_of_the_means_enters_the_covariance():
    """w = 1/2, V = 0: Sigma = (mu - m)^2 / 4."""
    statistics = ClassStatistics(1, 1, momentum=0.5)
    statistics.update([torch.tensor([[0.0], [0.0]])])
    statistics.update([torch.tensor([[2.0], [2.0]])])
    assert statistics.mean.item() == 1 and statistics.covariance.item() == 1


def test_a_class_without_voxels_stays_and_the_first_counts_whole():
    statistics = ClassStatistics(2, 1, momentum=0.99)
    statistics.update([torch.tensor([[3.0]]), torch.empty(0, 1)])
    assert statistics.mean[0].item() == 3 and statistics.count.tolist() == [1, 0]
    before = statistics.mean[0].clone()
    statistics.update([torch.empty(0, 1), torch.tensor([[7.0]])])
    assert statistics.mean[0] == before and statistics.mean[1].item() == 7


def test_compute_trusts_few_voxels_less():
    torch.manual_seed(0)
    statistics = ClassStatistics(3, 2)
    statistics.update([torch.randn(5, 2), torch.randn(15, 2), torch.randn(20, 2)])
    covariance = statistics.compute().covariance
    assert torch.equal(covariance[0], torch.zeros(2, 2))
    assert covariance[1, 0, 1] == 0 and covariance[1, 0, 0] == statistics.covariance[1, 0, 0] > 0
    assert torch.equal(covariance[2], statistics.covariance[2]) and covariance[2, 0, 1] != 0
    variances = ClassStatistics(2, 2, "diagonal")
    variances.update([torch.randn(5, 2), torch.randn(15, 2)])
    assert (
        torch.equal(variances.compute().covariance[0], torch.zeros(2)) and (variances.compute().covariance[1] > 0).all()
    )


def test_state_travels_and_nothing_carries_a_gradient():
    statistics, other = ClassStatistics(K, F), ClassStatistics(K, F)
    features = torch.randn(60, F, requires_grad=True)
    statistics.update(list(features.split(20)))
    assert not any(buffer.requires_grad for buffer in statistics.buffers())
    other.load_state_dict(statistics.state_dict())
    other.update(list(features.split(20)))
    statistics.update(list(features.split(20)))
    assert all(torch.equal(a, b) for a, b in zip(statistics.buffers(), other.buffers()))
    statistics.reset()
    assert all(buffer.abs().sum() == 0 for buffer in statistics.buffers())


def test_counts_are_limited_and_half_precision_is_taken():
    statistics = ClassStatistics(1, 1, momentum=1)
    statistics.count.fill_(COUNT_LIMIT)
    statistics.update([torch.ones(10, 1, dtype=torch.float16)])
    assert statistics.count.item() == COUNT_LIMIT and statistics.mean.dtype == torch.float32


@pytest.mark.parametrize("wrong", [{"covariance": "none"}, {"momentum": 0}, {"momentum": 1.5}])
def test_refuses(wrong):
    with pytest.raises(ValueError, match="expects covariance full or diagonal and a momentum"):
        ClassStatistics(2, 2, **wrong)


# ---- ranks ----------------------------------------------------------------------------------------------------------

# labels of each rank; class 2 is missing at times
STEPS = [((0, 0, 1, 2), (0, 1, 1, 1)), ((0, 0, 0), (2, 2)), ((1,), (1, 0))]


def steps_of(rank: int) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(rank)
    labels = [torch.tensor(step[rank]) for step in STEPS]
    return [by_class(torch.randn(len(label), F, dtype=torch.float64, generator=generator), label) for label in labels]


def statistics_of_a_rank(rank: int) -> dict:
    statistics = ClassStatistics(K, F, momentum=0.8).double()
    for samples in steps_of(rank):
        statistics.update(samples)
    return statistics.state_dict()


@pytest.mark.slow
def test_two_ranks_equal_one_process_on_the_union(tmp_path):
    one = ClassStatistics(K, F, momentum=0.8).double()
    for first, second in zip(steps_of(0), steps_of(1)):
        one.update([torch.cat(pair) for pair in zip(first, second)])
    ranks = in_two_processes(statistics_of_a_rank, tmp_path)
    for name, value in one.state_dict().items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], value, atol=1e-12, rtol=1e-12)


# ---- sampling -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, F, 8, 9), (2, F, 4, 5, 6)])
def test_samples_are_the_classes_own_voxels(shape):
    torch.manual_seed(0)
    label = torch.randint(K, (2, *shape[2:]))
    features = torch.randn(shape).movedim(1, -1)
    features[..., 0] = label  # the first channel tells the class
    features[..., 1] = torch.arange(label.numel()).view(label.shape)  # the second one the voxel
    samples = sample_classes(features.movedim(-1, 1), [label == k for k in range(K)], limit=10)
    for k, sample in enumerate(samples):
        assert sample.shape == (10, F) and (sample[:, 0] == k).all() and sample[:, 1].unique().numel() == 10
    everything = sample_classes(features.movedim(-1, 1), [label == 0, label == 9], limit=10_000)
    assert len(everything[0]) == (label == 0).sum() and everything[1].shape == (0, F)


def test_sampling_is_even_over_the_class():
    torch.manual_seed(0)
    features = torch.arange(1000.0).view(1, 1, 1000)
    drawn = torch.cat([sample_classes(features, [torch.ones(1, 1000, dtype=torch.bool)], 7)[0] for _ in range(300)])
    assert drawn.mean().item() == pytest.approx(499.5, abs=20) and drawn.min() < 30 and drawn.max() > 970


def test_moments_of_nothing_are_zero():
    moments = class_moments([torch.empty(0, F), torch.ones(3, F)], full=True)
    assert moments.count.tolist() == [0, 3] and all(part[0].abs().sum() == 0 for part in moments)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_class_with_a_feature_that_overflowed_is_left_out(covariance):
    features, label = data(dtype=torch.float32)
    statistics = ClassStatistics(K, F, covariance, momentum=0.9)
    statistics.update(by_class(features, label))
    before = statistics.mean.clone()
    samples = by_class(2 * features, label)
    samples[1][3, 0] = torch.inf
    statistics.update(samples)
    assert torch.equal(statistics.mean[1], before[1]) and not torch.equal(statistics.mean[0], before[0])
    assert all(buffer.isfinite().all() for buffer in statistics.buffers())
