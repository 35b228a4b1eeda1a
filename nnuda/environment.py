"""Environment variables that nnU-Net and its libraries read as numbers while they are imported, with a traceback where
they are none."""

from __future__ import annotations

import os
import re

from nnuda.errors import NnudaError

OF_OPENMP = "OMP_NUM_THREADS"
NUMBERS = {"nnUNet_def_n_proc": 1, "nnUNet_n_proc_DA": 0, OF_OPENMP: 1}  # and the least value


def check_numbers() -> None:
    """Stop where one of them is no number.

    Raises:
        NnudaError: names the variable.
    """
    for variable, least in NUMBERS.items():
        value = os.environ.get(variable)
        if variable == OF_OPENMP:
            value = (value or "").partition(",")[0] or None  # a list is of nested loops; empty is not set
        first = (value or "").strip()
        if value is not None and not (re.fullmatch(r"[0-9]{1,4}", first) and int(first) >= least):
            raise NnudaError(
                f"Environment variable {variable}: expected a whole number from {least} on; got {value!r}. Correct it, "
                "or unset it for nnU-Net's own."
            )
