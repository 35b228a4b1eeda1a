"""Tells nnU-Net where nnuda's trainers are: appends their folder to `nnUNet_extTrainer`.

Imported by a .pth line at every start of this environment's Python: hence os alone, no work beyond a string, and
safe to run again (a virtual environment runs it twice, child processes inherit the variable).
`nnUDA_AUTOREGISTER=0` turns it off.
"""

import os

VARIABLE = "nnUNet_extTrainer"
SWITCH = "nnUDA_AUTOREGISTER"


def trainers_folder() -> str:
    """Folder that holds nnUDATrainer*.py: nnuda/trainers in a wheel, trainers/ beside nnuda/ in a checkout."""
    here = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(here, "trainers")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(here), "trainers")


def register() -> None:
    """Append the trainers folder to nnU-Net's search path, behind whatever the user has set there."""
    if os.environ.get(SWITCH) == "0":
        return
    folders = [folder for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    if trainers_folder() not in folders and os.path.isdir(trainers_folder()):
        os.environ[VARIABLE] = os.pathsep.join([*folders, trainers_folder()])


register()
