"""Scores as tables on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text as RichText

from nnuda.errors import harmless
from nnuda.evaluation.conventions import DEFAULT_SHOWN
from nnuda.evaluation.gap import gap_closed
from nnuda.evaluation.summary import EMPTY_COUNTS

DECIMALS = {"Dice": 3, "ASSD": 2, "HD95": 2, "NSD": 3}


def shown_metrics(scores: Mapping[str, dict]) -> list[str]:
    """The metrics of a table: those of the preset, as far as every result has them (older ones have no NSD)."""
    results = list(scores.values())
    return [
        metric
        for metric in results[0].get("shown", DEFAULT_SHOWN)
        if all(metric in result["foreground_mean"] for result in results)
    ]


def spreadsheet_text(name: str) -> str:
    """A name for a CSV file. A spreadsheet runs what begins as a formula, so a ' goes in front of such a name."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else name


def _name(name: str) -> RichText:
    """A name out of a file: neither control characters nor rich's [markup] are obeyed."""
    return RichText(harmless(name))


def _number(value: float, metric: str) -> str:
    return "-" if math.isnan(value) else f"{value:.{DECIMALS[metric]}f}"


def metric_title(metric: str, unit: str) -> str:
    """A metric with its unit, where it has one."""
    return f"{metric} ({unit})" if metric in ("ASSD", "HD95") else metric


def estimate_table(result: dict) -> Table:
    """Expected Dice of each class with its interval, and what each estimator says.

    Args:
        result: what `nnuda.evaluation.quality.estimate_folder` returns.
    """
    table = Table(
        title=f"{len(result['per_case'])} target cases, expected Dice without labels",
        box=box.SIMPLE_HEAD,
        caption="source: true Dice on the source's cases that it was calibrated by",
    )
    table.add_column("class", no_wrap=True)
    columns = {"value": "expected", "low": "from", "high": "to", "soft_dice": "soft", "atc": "ATC"}
    columns |= {"agreement": "agreement", "dice_on_source": "source"}
    for title in columns.values():
        table.add_column(title, justify="right", no_wrap=True)
    for name, values in {**result["per_class"], "mean of classes": result["mean"]}.items():
        cells = (values.get(column) for column in columns)
        table.add_row(name, *("-" if cell is None else f"{cell:.2f}" for cell in cells))
    return table


def score_table(scores: dict) -> Table:
    """Mean ± standard deviation per class, and how often a mask was empty.

    Args:
        scores: what `evaluate_folder` returns.
    """
    metrics = shown_metrics({"": scores})
    table = Table(
        title=f"{scores['num_cases']} cases, mean ± standard deviation",
        box=box.SIMPLE_HEAD,
        caption="empty: cases with an empty prediction / empty reference / both empty",
    )
    table.add_column("class", no_wrap=True)
    for title in [metric_title(metric, scores["unit"]) for metric in metrics] + ["empty"]:
        table.add_column(title, justify="right", no_wrap=True)
    for name, values in scores["per_class"].items():
        cells = [f"{_number(values[m]['mean'], m)} ± {_number(values[m]['std'], m)}" for m in metrics]
        table.add_row(_name(name), *cells, " / ".join(str(values[count]) for count in EMPTY_COUNTS))
    table.add_section()
    table.add_row("mean of classes", *(_number(scores["foreground_mean"][metric], metric) for metric in metrics), "")
    return table


def comparison_table(scores: Mapping[str, dict], source_only: str, oracle: str, title: str | None = None) -> Table:
    """One row a result: Dice per class, means over classes, and the share of the gap in mean Dice that it closes.

    Args:
        scores: name of a row -> what `evaluate_folder` returned for it, all on the same cases.
        source_only, oracle: the names of the rows between which the gap lies.
        title: above the table.
    """
    classes, unit = list(scores[source_only]["per_class"]), scores[source_only]["unit"]
    table = Table(title=title, box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    metrics = shown_metrics(scores)
    means = [f"mean\n{metric_title(metric, unit)}" for metric in metrics]
    for column in [*(_name(f"Dice\n{name}") for name in classes), *means, "gap\nclosed"]:
        table.add_column(column, justify="right", no_wrap=True)
    ends = [scores[name]["foreground_mean"]["Dice"] for name in (source_only, oracle)]
    for name, result in scores.items():
        dice = [_number(result["per_class"][label]["Dice"]["mean"], "Dice") for label in classes]
        closed = gap_closed(ends[0], result["foreground_mean"]["Dice"], ends[1])
        table.add_row(
            _name(name),
            *dice,
            *(_number(result["foreground_mean"][metric], metric) for metric in metrics),
            "-" if math.isnan(closed) else f"{100 * closed:.0f} %",
        )
    return table


def table_of(rows: Sequence[Sequence[str]], title: str | None = None) -> Table:
    """A table of text: the first row is its head, the first column its names."""
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for number, name in enumerate(rows[0]):
        table.add_column(_name(name), no_wrap=True, justify="right" if number else "left")
    for row in rows[1:]:
        table.add_row(*map(_name, row))
    return table


def print_table(table: Table) -> None:
    """Prints a table. A terminal that is too narrow for it gets its columns in several, each with the names of the rows;
    what is no terminal gets it as wide as it needs, so that a log file loses no column."""
    console = Console()
    if console.is_terminal:
        for part in parts_of(table, console):
            console.print(part)
    else:
        Console(width=Console(width=10_000).measure(table).maximum).print(table)


def parts_of(table: Table, console: Console) -> list[Table]:
    """Tables that fit a console and together have all columns; the first column, that of the names, is in each."""
    free = Console(width=10_000)
    if free.measure(table).maximum <= console.width:
        return [table]
    names, *columns = (replace(column, no_wrap=False, overflow="fold") for column in table.columns)
    names.max_width = console.width // 2
    parts: list[list[Column]] = [[]]
    for column in columns:
        if parts[-1] and free.measure(_with_columns(table, [names, *parts[-1], column])).maximum > console.width:
            parts.append([])
        parts[-1].append(column)
    tables = [_with_columns(table, [names, *part]) for part in parts]
    for before, after in zip(tables, tables[1:]):
        before.caption = after.title = None
    return tables


def _with_columns(table: Table, columns: Sequence[Column]) -> Table:
    part = copy(table)
    part.columns = [replace(column, _index=number) for number, column in enumerate(columns)]
    return part
