"""The EMA teacher: a moving average of the student's weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from nnuda.training.outputs import finest


def decay_for(iterations: int) -> float:
    """The decay with which a teacher averages over the last 5 % of a training: over 100 to 2000 steps, and of a short
    training over a tenth of it, but at least 10 steps. Longer, it would still hold weights that knew little.

    Args:
        iterations: of the whole training.
    """
    steps = min(max(0.05 * iterations, 100), max(0.1 * iterations, 10), 2000)
    return 1 - 1 / steps


class EmaTeacher(nn.Module):
    """theta' <- alpha_t theta' + (1 - alpha_t) theta after each step, alpha_t = min(1 - 1/(t+1), alpha).

    Mean teachers, arXiv 1703.01780, section 2. Parameters are averaged, buffers copied. Update it after the optimiser's
    step, never before: at t = 0 it takes the student's weights whole.

    Args:
        student: the network, neither compiled nor wrapped for DDP.
        decay: alpha.
    """

    def __init__(self, student: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = deepcopy(student).eval().requires_grad_(False)
        self.decay = decay
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self._steps = 0  # the buffer's value without a device synchronisation a step

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """One step towards the student."""
        decay = min(1 - 1 / (self._steps + 1), self.decay)
        own, new = list(self.network.parameters()), [parameter.detach() for parameter in student.parameters()]
        torch._foreach_lerp_(own, new, 1 - decay)
        for buffer, value in zip(self.network.buffers(), student.buffers()):
            buffer.copy_(value)
        self._steps += 1
        self.steps.fill_(self._steps)

    @torch.no_grad()
    def restart(self, student: nn.Module) -> None:
        """Take the student's weights whole and restart the average: until now it lagged behind a network that
        was still learning fast."""
        self._steps = 0
        self.update(student)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """(B, Cin, *S) to logits (B, C, *S) at full resolution."""
        return finest(self.network(image))

    def load_state_dict(self, state_dict, *args, **kwargs):
        result = super().load_state_dict(state_dict, *args, **kwargs)
        self._steps = int(self.steps)
        return result
