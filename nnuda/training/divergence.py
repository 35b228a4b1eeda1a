"""A training that diverges ends with one error, before a good checkpoint is overwritten."""

from __future__ import annotations

import math

import torch
from torch import nn

from nnuda.errors import NnudaError

PATIENCE = 50  # steps in a row; a GradScaler that looks for its scale skips far fewer


class DivergedError(NnudaError, RuntimeError):
    """Losses or weights are not finite any more."""


class Divergence:
    """Counts steps in a row whose loss is not finite.

    Args:
        steps_per_epoch: a whole epoch of them is enough.
        remedy: what to do, for the message.

    Attributes:
        terms: names of the loss terms that were not finite in the last such step; the trainer says so.
    """

    def __init__(self, steps_per_epoch: int, remedy: str) -> None:
        self.patience, self.remedy = min(PATIENCE, steps_per_epoch), remedy
        self.terms: list[str] = []
        self.steps = 0

    def see(self, loss: float, epoch: int) -> None:
        """One step's loss, which nnU-Net has on the host anyway.

        Raises:
            DivergedError: it was the last one in a row that is too long.
        """
        self.steps = 0 if math.isfinite(loss) else self.steps + 1
        if self.steps >= self.patience:
            terms = f" (loss terms: {', '.join(self.terms)})" if self.terms else ""
            raise DivergedError(
                f"The training diverged in epoch {epoch}: its loss was {float(loss)} in {self.steps} steps in a "
                f"row{terms}. {self.remedy}"
            )

    def check_weights(self, network: nn.Module, epoch: int) -> None:
        """After an epoch's steps, before anything of it is kept.

        Raises:
            DivergedError: a weight is NaN or infinite.
        """
        values = [value for value in network.state_dict().values() if value.is_floating_point()]
        if values and not torch.stack([value.isfinite().all() for value in values]).all():
            raise DivergedError(
                f"The training diverged in epoch {epoch}: weights of the network are not finite, so no checkpoint of "
                f"this epoch is written. {self.remedy}"
            )
