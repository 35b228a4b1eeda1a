"""Every method with every kind of term on from the start."""
from __future__ import annotations

TEACHER = {"training.num_epochs": 2, "teacher.weight": 1, "teacher.start": 0, "teacher.confidence": 0.3}
PROTOTYPES = {**TEACHER, "prototypes.target.start": 0, "prototypes.target.confidence": 0.3,
              "prototypes.contrast.start": 0}
METHODS = {
    "source only": ("nnUDATrainerSourceOnly", {}),
    "teacher": ("nnUDATrainerSourceOnly", TEACHER),
    "uuds": ("nnUDATrainerUUDS", {**TEACHER, "uuds.pseudo_label.start": 0}),
    "transmedseg": ("nnUDATrainerTransMedSeg",
                    {**TEACHER, "transmedseg.statistics.confidence": 0.3, "transmedseg.copy_paste.weight": 1,
                     "transmedseg.copy_paste.start": 0, "transmedseg.structure.weight": 0.01}),
    "prototypes": ("nnUDATrainerPrototypes", PROTOTYPES),
    "cycle": ("nnUDATrainerPrototypes",
              {**PROTOTYPES, "prototypes.form": "cycle", "prototypes.discriminator.channels": 4,
               "prototypes.translated.start": 0.4}),
    "tcsa": ("nnUDATrainerTCSA", {**TEACHER, "tcsa.target.confidence": 0, "tcsa.fusion": True, "tcsa.fusion.width": 8,
                                  "tcsa.adversary.weight": 0.003, "tcsa.discriminator.channels": 4}),
}
