"""L_id of UUDS: what the generator makes of a source image is that image.

Reference: "Unified Uncertain Dual-prompts Cross-domain Segmentation Framework for Medical Image Segmentation"
(UUDS), ICLR 2025 submission, section 3.3, equation 9: L_id = || X~^s - X^s ||_1.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full_type, no_autocast


def identity_loss(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean absolute difference of reconstructed and true source image (UUDS, equation 9).

    The printed norm is a sum; the mean keeps the term's weight independent of the patch size.

    Args:
        reconstruction: X~^s, (B, channels, *S).
        image: X^s, same shape, in normalised intensities.

    Returns:
        Scalar, in units of the normalised intensities.

    Raises:
        ValueError: if the shapes differ.
    """
    if reconstruction.shape != image.shape:
        raise ValueError(
            "identity_loss expects a reconstruction of the image's shape; "
            f"got {tuple(reconstruction.shape)} for an image {tuple(image.shape)}"
        )
    dtype = full_type(reconstruction)
    with no_autocast(reconstruction):
        return F.l1_loss(reconstruction.to(dtype), image.to(dtype))
