"""Files that are valid JSON and hold nonsense: a value taken out, or replaced by one of another kind."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

NONSENSE = [None, True, -1, 0, 3, 1e308, float("nan"), "", "x", [], {}, [None], [[1]], {"x": 1}, "\x1b[31m"]


def places(content: Any, above: tuple = ()) -> list[tuple]:
    """Paths of everything that a JSON value holds."""
    if not isinstance(content, (dict, list)):
        return []
    keys = list(content) if isinstance(content, dict) else list(range(len(content)))
    return [path for key in keys for path in ((*above, key), *places(content[key], (*above, key)))]


def mutated(content: Any, seed: int) -> tuple[Any, str]:
    """The content with one change, and the change in words."""
    generator, content = random.Random(seed), deepcopy(content)
    path = generator.choice(places(content))
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    if generator.random() < 0.25:
        del holder[path[-1]]
        return content, f"{path} taken out"
    holder[path[-1]] = generator.choice(NONSENSE)
    return content, f"{path} = {holder[path[-1]]!r}"


def spoil(file: Path, seed: int) -> str:
    """Change a JSON file; the change in words."""
    content, change = mutated(json.loads(file.read_text()), seed)
    file.write_text(json.dumps(content))
    return f"{file.name}: {change}"
