"""Tables of what a run was made with and what it cost: settings and their sources, time and memory."""

from __future__ import annotations

import json

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.find_trainer import find_trainer
from nnuda.report.page import Folded, Section, Table, Text
from nnuda.report.run import Run, number
from nnuda.settings import SettingsError, load_preset, usual_settings
from nnuda.trainer_files import BASE
from nnuda.training.cost import MEMORY_GB, STEP_SECONDS


def preset_entries(run: Run) -> dict[str, dict]:
    """Defaults for a training of this length, and their sources: of the trainer's preset; of the base's where the
    trainer is not on this machine."""
    try:
        preset = find_trainer(run.trainer).preset
    except SettingsError:
        preset = BASE
    usual = usual_settings(preset, run.settings)
    return {key: {**entry, "value": usual[key]} for key, entry in load_preset(preset).items()}


def changed_settings(run: Run) -> list[str]:
    """Keys whose value is not the preset's."""
    entries = preset_entries(run)
    return [key for key, value in run.settings.items() if key in entries and entries[key]["value"] != value]


def settings_section(run: Run) -> Section:
    """Effective settings; those that differ from the preset first."""
    entries, changed = preset_entries(run), changed_settings(run)
    head = ["setting", "value", "default", "what it does", "source of the default"]

    def rows(keys: list[str]) -> list[list[str]]:
        unknown = {"value": None, "help": "not in this version's preset", "source": "-"}
        known = {key: entries.get(key, unknown) for key in keys}
        return [
            [
                key,
                json.dumps(run.settings[key], ensure_ascii=False),
                json.dumps(entry["value"], ensure_ascii=False),
                entry.get("help", "-"),
                entry["source"],
            ]
            for key, entry in known.items()
        ]

    words, keys = frozenset({3, 4}), list(run.settings)
    marked = frozenset(index for index, key in enumerate(keys) if key in changed)
    text = f"{len(changed)} of {len(keys)} settings differ from the preset."
    blocks = [Text(text if changed else "All settings are the preset's.")]
    found = run.key.get("rules", [])
    if found:
        table = [[rule["rule"], _values(rule["settings"]), rule["reason"]] for rule in found]
        blocks.append(Text("What planning found in the fingerprints (--set counts more):"))
        blocks.append(Table([["rule", "settings", "reason"], *table], words=frozenset({1, 2})))
    blocks += [Table([head, *rows(changed)], words=words)] if changed else []
    blocks.append(Folded(f"All {len(keys)} settings", [Table([head, *rows(keys)], marked, words)]))
    return Section("Settings", blocks)


def _values(settings: dict) -> str:
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in settings.items()) or "a warning"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def cost_section(run: Run) -> Section:
    """Step time and memory."""
    logged, settings, debug = run.logged, run.settings, run.debug
    ends = np.array(logged["epoch_end_timestamps"])
    times = ends - np.array(logged["epoch_start_timestamps"])[: len(ends)]
    usual = times[1:] if len(times) > 1 else times  # the first one starts the workers and compiles
    steps, checks = settings["training.num_iterations_per_epoch"], settings["training.num_val_iterations_per_epoch"]
    seconds, memory = (np.array(logged.get(name, []), dtype=float) for name in (STEP_SECONDS, MEMORY_GB))
    epoch = float(np.median(usual))
    rows = [
        ["", ""],
        ["epochs", f"{run.epochs} of {settings['training.num_epochs']}"],
        ["all epochs together", _duration(float(times.sum()))],
        ["an epoch (median)", f"{_duration(epoch)}: {steps} training and {checks} validation steps"],
    ]
    known = seconds[np.isfinite(seconds)]
    if known.size:
        step = float(np.median(known[1:] if known.size > 1 else known))
        rows.append(["a training step (median)", f"{number(step)} s, data loading included"])
    else:
        average = number(epoch / (steps + checks))
        rows.append(["a training step", f"not logged; {average} s an average training or validation step"])
    on_gpu = "cuda" in debug.get("device", "")
    peak = memory[np.isfinite(memory)]
    if peak.size:
        measured = f"{peak.max():.2f} GB, largest of all epochs"
    else:
        measured = "not logged by this training" if on_gpu else "not measured on the CPU"
    rows.append(["GPU memory", measured])
    expected = run.key.get("memory", {}).get("expected_gb_per_configuration", {}).get(run.configuration)
    if expected is not None:
        rows.append(["GPU memory expected at planning", f"{expected} GB for the step of {run.key['memory']['step']}"])
    configuration = PlansManager(run.plans).get_configuration(run.configuration)
    batch = debug.get("batch_size", configuration.batch_size)
    rows += [
        ["batch", f"{batch} of the source, {debug.get('batch_size_target', '-')} of the target"],
        ["patch, voxels", " × ".join(map(str, configuration.patch_size))],
        ["parameters of the network", f"{run.checkpoint['parameters'] / 1e6:.2f} million"],
        ["device", debug.get("gpu_name", debug.get("device", "-"))],
        ["torch", debug.get("torch_version", "-")],
    ]
    return Section("Time and memory", [Table(rows, words=frozenset({1}))])
