"""Several optimisers behind one, because nnU-Net steps, unscales and checkpoints one;
and nnU-Net's schedule for groups of different rates."""

from __future__ import annotations

from torch.optim import Optimizer


class JointOptimizer(Optimizer):
    """Steps several optimisers as one. Its `param_groups` are theirs, so that a GradScaler and a
    schedule reach all of them.

    Args:
        optimizers: at least one.
    """

    def __init__(self, optimizers: list[Optimizer]) -> None:
        self.optimizers = optimizers
        super().__init__(
            [
                parameter
                for optimizer in optimizers
                for group in optimizer.param_groups
                for parameter in group["params"]
            ],
            {},
        )
        self.param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]

    def step(self, closure=None) -> None:
        """Step each of them; no closure."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of each of them."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        """Their states, in order."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load their states, in order."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]


def steps_on_cpu(optimizer: Optimizer) -> None:
    """Adam's counts of steps where it keeps them; loading moves them to the GPU, and each step would wait for it."""
    for part in getattr(optimizer, "optimizers", [optimizer]):
        for state in part.state.values():
            if "step" in state:
                state["step"] = state["step"].cpu()


class GroupPolySchedule:
    """nnU-Net's schedule, lr = lr_0 (1 - epoch / epochs)^0.9, with each parameter group's own lr_0.

    Args:
        optimizer: its groups' present rates are the initial ones.
        num_epochs: length of the training.
    """

    def __init__(self, optimizer: Optimizer, num_epochs: int) -> None:
        self.optimizer = optimizer
        self.num_epochs = num_epochs
        self.initial = [group["lr"] for group in optimizer.param_groups]

    def step(self, epoch: int) -> None:
        """Set the rates of an epoch."""
        for group, initial in zip(self.optimizer.param_groups, self.initial, strict=True):
            group["lr"] = initial * (1 - epoch / self.num_epochs) ** 0.9
