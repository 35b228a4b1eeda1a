"""Share of the gap between source-only and oracle."""

from __future__ import annotations

import math

import pytest

from nnuda.evaluation.gap import gap_closed


@pytest.mark.parametrize("method, share", [(0.5, 0.0), (0.9, 1.0), (0.7, 0.5), (0.3, -0.5), (1.0, 1.25)])
def test_share_of_the_gap(method: float, share: float) -> None:
    assert gap_closed(0.5, method, 0.9) == pytest.approx(share)


def test_distances_shrink() -> None:
    assert gap_closed(8.0, 5.0, 2.0, higher_is_better=False) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "source_only, method, oracle",
    [(0.8, 0.9, 0.8), (0.8, 0.9, 0.7), (math.nan, 0.9, 0.9), (0.5, math.nan, 0.9), (0.5, 0.6, math.nan)],
)
def test_no_share_where_there_is_no_gap(source_only: float, method: float, oracle: float) -> None:
    assert math.isnan(gap_closed(source_only, method, oracle))
