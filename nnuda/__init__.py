"""Unsupervised domain adaptation inside an unmodified nnU-Net v2.

`nnuda.adapt(source=501, target=502, configuration="2d")` is what the command nnUDA_adapt does; losses, statistics,
metrics and scores are imported from their own modules (documentation/reference/python.md).
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing has it, which every start of Python would import here
if TYPE_CHECKING:
    from nnuda.api import Adapted, adapt

__all__ = ["Adapted", "adapt"]


def __getattr__(name: str) -> object:
    """Imported when it is asked for: this file is read at every start of Python, to register the trainers."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nnuda import api

    return getattr(api, name)
