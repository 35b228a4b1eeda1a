"""What to type after a command, as its last lines."""

from __future__ import annotations

from nnuda.plan_key import read_key
from nnuda.trainer_files import BASE_TRAINER, RECOMMENDED


def print_next(what: str, *commands: str) -> None:
    """The way on.

    Args:
        what: the commands do.
        commands: as they can be typed; words in capitals stand for what only the user knows.
    """
    print("\n".join([f"\nNext: {what}", *(f"  {command}" for command in commands)]), flush=True)


def train_command(plans: dict, configuration: str) -> str:
    """Training with the trainer that a plan was made for; with the recommended one where none was named.

    Args:
        plans: with the key `domain_adaptation`.
        configuration: a preprocessed one.
    """
    key, name = read_key(plans), plans["plans_name"]
    step = key.get("memory", {}).get("step", BASE_TRAINER)
    trainer = RECOMMENDED if step == BASE_TRAINER else step
    return f"nnUNetv2_train {key['source'][7:10]} {configuration} 0 -tr {trainer}{of_plan(name)}"


def of_plan(name: str) -> str:
    """-p, where it is needed."""
    return "" if name == "nnUNetPlans" else f" -p {name}"
