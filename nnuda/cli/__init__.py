"""The commands. What follows is the first thing that any of them does: nnU-Net reads these while it is imported."""

from nnuda.cli.environment import check_numbers
from nnuda.errors import one_message

with one_message():
    check_numbers()
