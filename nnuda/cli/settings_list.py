"""The settings of a trainer as text for a terminal: value, what is allowed, what it does."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from nnuda.settings import RECIPE, SettingsError, allowed, defaults, effective_settings, load_preset

WIDTH = 80
COLUMNS = (42, 14, 24)  # setting, value, allowed


def settings_list(preset: str, chosen: dict[str, Any], begin: str = "") -> str:
    """One block a setting, in lines of 80 characters.

    Args:
        preset: of the trainer.
        chosen: what a plan gives other values than the preset; of other methods' settings too.
        begin: only the settings whose names begin so.

    Raises:
        SettingsError: none does.
    """
    entries = load_preset(preset)
    values = defaults(entries, chosen.get(RECIPE, entries[RECIPE]["value"]))
    of_preset = {key: value for key, value in chosen.items() if key in entries}
    now, keys = effective_settings(preset, of_preset), [key for key in entries if key.startswith(begin)]
    if not keys:
        groups = dict.fromkeys(key.partition(".")[0] for key in entries)
        raise SettingsError(f"--list: expected how a setting begins, such as {', '.join(groups)}; got {begin!r}.")
    lines = _row("SETTING", "VALUE", "ALLOWED")
    for key in keys:
        value = _text(now[key]) + (f" (preset: {_text(values[key])})" if now[key] != values[key] else "")
        lines += ["", *_row(key, value, allowed(entries[key]["schema"])), *_fill(entries[key]["help"])]
    return "\n".join(lines)


def _text(value: Any) -> str:
    return json.dumps(value).replace('"', "")


def _fill(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def _row(*cells: str) -> list[str]:
    """Cells beside each other, each wrapped within its column."""
    wrapped = [textwrap.wrap(cell, width - 2) for cell, width in zip(cells, COLUMNS)]
    height = max(map(len, wrapped))
    filled = [lines + [""] * (height - len(lines)) for lines in wrapped]
    return ["".join(cell.ljust(width) for cell, width in zip(row, COLUMNS)).rstrip() for row in zip(*filled)]
