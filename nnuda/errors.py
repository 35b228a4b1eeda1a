"""Errors meant for the user: something that can be put right, not a fault of the program."""

from __future__ import annotations


class NnudaError(Exception):
    """Says what was expected, what came, and what to do. A command prints it without a traceback."""


class PlanningError(NnudaError, ValueError):
    """Something about the two domains, or a command's options, that forbids any long work."""
