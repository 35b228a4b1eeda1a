"""The class behind a trainer's name, as nnU-Net finds it: what planning and the report ask about a method."""

from __future__ import annotations

import difflib
import io
import os
import warnings
from contextlib import redirect_stdout
from functools import lru_cache
from importlib import import_module

from nnuda.registration import VARIABLE
from nnuda.settings import SettingsError
from nnuda.trainer_files import BASE_TRAINER, RECOMMENDED, known_trainers, outside_folders

_BASE_MODULE = "nnuda.training.trainer"


class TrainerError(SettingsError):
    """A name behind which there is no trainer of nnuda's, or one that cannot be imported."""


def find_trainer(name: str) -> type:
    """The trainer's class, a subclass of nnUDATrainer; its `preset` names its settings.

    Training code is imported here, not with this module, so that commands answer `--help` quickly.

    Args:
        name: as for -tr; of nnuda's own trainers, or of a trainer in any folder of `nnUNet_extTrainer`.

    Raises:
        TrainerError: nnU-Net does not find it, cannot import it, or it is no trainer of nnuda's.
    """
    if name == BASE_TRAINER:
        return import_module(_BASE_MODULE).nnUDATrainer
    known = known_trainers()
    find = _find if outside_folders() else _find_once  # files outside may change between two calls
    try:
        found = find(name, os.environ.get(VARIABLE))
    except Exception as error:  # a user's file may fail at import with anything
        if name not in known and isinstance(error, RuntimeError):
            raise TrainerError(_unknown(name, known)) from error
        raise TrainerError(
            f"nnU-Net cannot load {name}: {type(error).__name__}: {error} Every file in the folders of "
            f"{VARIABLE} must import: fix or remove the one that does not."
        ) from error
    if not any((parent.__module__, parent.__name__) == (_BASE_MODULE, BASE_TRAINER) for parent in found.__mro__):
        raise TrainerError(_unknown(name, known))
    return found


def _find(name: str, folders: str | None) -> type:
    """nnU-Net's search, without what it prints; the second argument tells calls apart, nnU-Net reads the variable."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of what nnU-Net's own trainers import
        return recursive_find_trainer_class_by_name(name)


_find_once = lru_cache(_find)


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, [one for one in known if one != BASE_TRAINER], n=1, cutoff=0.8)
    return (
        f"-tr: expected one of nnuda's trainers ({', '.join(known)}) or a subclass of one in a folder of {VARIABLE}; "
        f"got {name}. {f'Did you mean {nearest[0]}?' if nearest else f'The recommended one is {RECOMMENDED}.'}"
    )
