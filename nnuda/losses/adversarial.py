"""Least-squares adversarial losses: a discriminator gives 1 to what is real, 0 to what is made; the generator wants 1.

Reference: Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, equation 9, with a = 0, b = c = 1:

    L_G = mean (D(fake) - 1)^2,    L_D = 1/2 (mean (D(real) - 1)^2 + mean D(fake)^2)

without the 1/2 of L_G, as CycleGAN (arXiv 1703.10593, section 4) prints it.
"""

from __future__ import annotations

from torch import Tensor

from nnuda.losses.precision import full, no_autocast


def least_squares_generator(fake: Tensor) -> Tensor:
    """L_G: what is made should pass for real.

    Args:
        fake: scores D(fake) of any shape, (B, 1, *S) for a patch discriminator. The gradient is for the generator: the
            caller keeps it from the discriminator's parameters.

    Returns:
        Scalar, the mean over all scores.
    """
    with no_autocast(fake):
        return (full(fake) - 1).square().mean()


def least_squares_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """L_D: tell the real from what was made.

    Args:
        real: scores D(real) of any shape.
        fake: scores D(fake.detach()); the caller detaches what it was computed from.

    Returns:
        Scalar; 1/4 where every score is 1/2.
    """
    with no_autocast(real):
        return ((full(real) - 1).square().mean() + full(fake).square().mean()) / 2
