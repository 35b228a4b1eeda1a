"""Writes the tables of the pages from results.csv: python documentation/benchmarks/tables.py

A page holds `<!-- benchmark: PAIR/BUDGET -->` and `<!-- end of benchmark -->`; what lies between is written here.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "documentation").rglob("*.md"))]
_MARKED = re.compile(r"(<!-- benchmark: (\S+) -->\n).*?(<!-- end of benchmark -->)", re.DOTALL)
BASELINES = ("source-only", "strong-more")


def results() -> list[dict[str, str]]:
    """The lines of results.csv."""
    with (HERE / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def spread(values: list[float]) -> str:
    """Mean over the seeds, with their standard deviation where there is more than one."""
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def gain(row: dict[str, float], baseline: dict[str, float]) -> str:
    """Mean difference over the seeds that both have; blank without one."""
    shared = row.keys() & baseline.keys()
    return f"{statistics.mean(row[seed] - baseline[seed] for seed in shared):+.2f}" if shared else ""


def table(pair: str, budget: str) -> str:
    """Rows with the Dice of each class, seeds' spread, gain over the baselines with the same seeds, and cost."""
    lines = [line for line in results() if (line["pair"], line["budget"]) == (pair, budget)]
    dice: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    cost: dict[str, dict[str, float]] = defaultdict(dict)
    failures: dict[str, int] = defaultdict(int)
    for line in lines:
        dice[line["row"]][line["class"]][line["seed"]] = float(line["dice"])
        if line["class"] == "mean":
            failures[line["row"]] += int(line["failures"])
            if line["cpu_seconds"]:
                cost[line["row"]][line["seed"]] = float(line["cpu_seconds"])
    described = json.loads((HERE / "rows.json").read_text(encoding="utf-8"))
    rows = [row for row in described["rows"] if row in dice]
    if not rows:
        return "Not measured yet.\n"
    classes = [name for name in dice[rows[0]] if name != "mean"]
    head = [
        "",
        "Seeds",
        *(name.capitalize() for name in classes),
        "Mean Dice",
        "Against source-only",
        "Against strong",
        "Not found",
        "CPU time",
    ]
    body = []
    for row in rows:
        mean = dice[row]["mean"]
        shared = cost[row].keys() & cost["source-only"].keys()
        times = [cost[row][seed] / cost["source-only"][seed] for seed in shared]
        against = [gain(mean, dice[name]["mean"]) if name in dice and name != row else "" for name in BASELINES]
        body.append(
            [
                described["rows"][row].get("title", row),
                str(len(mean)),
                *(spread(list(dice[row][name].values())) for name in classes),
                spread(list(mean.values())),
                *against,
                str(failures[row]),
                f"{statistics.mean(times):.1f}" if times else "",
            ]
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *body]) + "\n"


def filled(text: str) -> str:
    """A page with its tables as results.csv has them."""
    return _MARKED.sub(lambda match: f"{match[1]}\n{table(*match[2].split('/'))}\n{match[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
