"""The one error of planning: something about the two domains that has to be mended before any long work."""
from __future__ import annotations


class PlanningError(ValueError):
    """Says what was expected, what came, and what to do."""
