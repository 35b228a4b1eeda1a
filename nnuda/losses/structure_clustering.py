"""Intra-domain structure: the features of one domain's positions should fall into clusters (GraphCL,
the base of TransMedSeg).

    L_CC = -Tr(W_g S S^T),    W_g = F F^T - max(F F^T) / tau

with unit features F (N, F') and soft cluster assignments S (N, K): correlation clustering as in DeepCut (arXiv
2212.05853). Pairs with an affinity above max / tau are pulled into one cluster, the others apart. The summary of GraphCL
prints W_g = (F F^T - max(F F^T)) / tau, which is nowhere positive: its minimum only takes nodes apart.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full_type, no_autocast


def structure_clustering(features: Tensor, assignment: Tensor, tau: float = 2.0, form: str = "margin") -> Tensor:
    """L_CC of one domain, divided by the number of pairs.

    Args:
        features: (N, F'), one row a position; normalised here.
        assignment: S (N, K), rows sum to 1.
        tau: above 1; the larger, the fewer clusters.
        form: "margin" as above, or "printed".

    Returns:
        Scalar.

    Raises:
        ValueError: for another form.
    """
    if form not in ("margin", "printed"):
        raise ValueError(f"structure_clustering expects form margin or printed; got {form!r}.")
    with no_autocast(features):
        dtype = full_type(features)
        unit, assignment = F.normalize(features.to(dtype), dim=1), assignment.to(dtype)
        affinity = unit @ unit.T
        largest = affinity.amax()
        weight = affinity - largest / tau if form == "margin" else (affinity - largest) / tau
        return -(weight * (assignment @ assignment.T)).mean()
