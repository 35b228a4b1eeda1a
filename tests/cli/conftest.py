from __future__ import annotations

from planning_pairs import _planned_once, _stock_once, folders, pair, planned, stock  # noqa: F401
