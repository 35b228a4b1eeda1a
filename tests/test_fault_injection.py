"""tests/fault_injection.py in a process of its own: it forks trainings, which torch refuses once a process has trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = Path(__file__).parent / "fault_injection.py"


@pytest.mark.slow
def test_faults_are_injected_into_a_fresh_process() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=short", str(CHECKS)]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=CHECKS.parents[1])
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
