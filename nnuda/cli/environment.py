"""Environment variables that nnU-Net reads as numbers while it is imported, with a traceback where they are none."""

from __future__ import annotations

import os
import re

from nnuda.errors import NnudaError

NUMBERS = {"nnUNet_def_n_proc": 1, "nnUNet_n_proc_DA": 0}  # and the least value


def check_numbers() -> None:
    """Stop where one of them is no number.

    Raises:
        NnudaError: names the variable.
    """
    for variable, least in NUMBERS.items():
        value = os.environ.get(variable)
        if value is not None and not (re.fullmatch(r"\d{1,4}", value.strip(), re.ASCII) and int(value) >= least):
            raise NnudaError(
                f"Environment variable {variable}: expected a whole number from {least} on; got {value!r}. Correct it, "
                "or unset it for nnU-Net's own."
            )
