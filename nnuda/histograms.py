"""What histograms of two domains have in common."""

from __future__ import annotations

import numpy as np

SHOWN_PERCENTILES = (0.5, 99.5)


def common_area(values: dict[str, np.ndarray], limits: tuple[float, float]) -> float:
    """Common area of both histograms, 0 to 1."""
    edges = np.linspace(*limits, 81)
    shares = [np.histogram(np.clip(drawn, *limits), edges)[0] / drawn.size for drawn in values.values()]
    return float(np.minimum(*shares).sum())


def shown_limits(values: dict[str, np.ndarray]) -> tuple[float, float]:
    """Between which both are drawn: all but the few lowest and highest values of either."""
    ends = np.array([np.percentile(drawn, SHOWN_PERCENTILES) for drawn in values.values()])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    return low, max(high, low + 1e-6)
