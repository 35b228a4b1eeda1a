"""JSON files that are never half-written."""
from __future__ import annotations

import json
import os

from nnunetv2.utilities.json_export import recursive_fix_for_json_export


def write_json(content: dict, path: str) -> None:
    """Write beside, then rename: a reader sees the old file or the new one. Numpy scalars become JSON numbers."""
    recursive_fix_for_json_export(content)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = f"{path}.{os.getpid()}.tmp"
    with open(aside, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=4)
    os.replace(aside, path)
