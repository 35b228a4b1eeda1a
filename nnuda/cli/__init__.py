"""The commands. A module's top imports only what is there at once, so that help and complaints about options come within
a second; what works imports torch, nnU-Net and our own rooms on top of them in the function that needs them, after the
checks that need none.

What follows is the first thing that any of them does: nnU-Net reads these while it is imported."""

from nnuda.environment import check_numbers
from nnuda.errors import one_message

with one_message():
    check_numbers()
