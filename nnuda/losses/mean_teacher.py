"""Mean teacher: student and teacher give each voxel the same probabilities.

Reference: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017 (arXiv 1703.01780), section 2,
with the mean squared error of section 3.1:

    J = E_{x, eta', eta} || f(x, theta', eta') - f(x, theta, eta) ||^2

f are the probabilities; the square is the mean over the classes, as in the release.
"""

from __future__ import annotations

from torch import Tensor

from nnuda.losses.precision import full, no_autocast


def mean_teacher_consistency(logits_student: Tensor, logits_teacher: Tensor, regions: bool = False) -> Tensor:
    """J, over all voxels of a batch.

    Args:
        logits_student: (B, C, *S), or (B, R, *S) with `regions`.
        logits_teacher: likewise, of the same voxels; detached.
        regions: sigmoid channels instead of a softmax.

    Returns:
        Scalar in [0, 1], the mean over images, channels and voxels.

    Raises:
        ValueError: for logits of different shapes.
    """
    if logits_student.shape != logits_teacher.shape:
        raise ValueError(
            "mean_teacher_consistency expects student and teacher logits of one shape (B, C, *S); got "
            f"{tuple(logits_student.shape)} and {tuple(logits_teacher.shape)}"
        )
    with no_autocast(logits_student):
        student, teacher = (
            logits.sigmoid() if regions else logits.softmax(1)
            for logits in (full(logits_student), full(logits_teacher.detach()))
        )
        return (student - teacher).square().mean()
