"""The words that stand for each class: names, descriptions, modality words and the prompts made of them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from string import Formatter

from nnuda.errors import NnudaError
from nnuda.files import read_json

TEMPLATES = ("A {m} of a {c}.", "There is a {c} in this {m}.", "A photo of a {c}.")
"""The three of MulModSeg (WACV 2025), from which TCSA-UDA's fusion comes; {m} is a modality, {c} a class. To average
over templates is CoPT's (ECCV 2024)."""
CT, MR = "computed tomography imaging", "magnetic resonance imaging"  # MulModSeg's words
_TEXT = {"type": "string", "pattern": r"\S", "maxLength": 10_000}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
TEXTS_SCHEMA = {
    "type": "object",
    "properties": {
        "classes": {"type": "object", "additionalProperties": _TEXT},
        "modalities": {"type": "object", "additionalProperties": _TEXTS},
        "templates": _TEXTS,
    },
}
EXAMPLE = '{"classes": {"liver": "liver"}, "modalities": {"source": ["CT"]}, "templates": ["A {m} of a {c}."]}'
MR_NAMES = ("mr", "t1", "t2", "flair", "adc", "dwi", "bssfp", "lge")


class ClassTextsError(NnudaError, ValueError):
    """A file of texts or vectors that does not fit the classes."""


@dataclass(frozen=True)
class ClassTexts:
    """
    Attributes:
        names: the background, then the foreground classes or regions in the order of the network's channels.
        descriptions: what {c} stands for, one a name.
        modalities: what {m} stands for in the source and in the target, one or more each.
        templates: prompts with {c}, and {m} in some of them.
    """

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    modalities: tuple[tuple[str, ...], tuple[str, ...]]
    templates: tuple[str, ...] = TEMPLATES

    def prompts(self, name: int, domain: int) -> list[str]:
        """Every template of a class with every modality word of a domain (0 source, 1 target)."""
        return [
            template.format(c=self.descriptions[name], m=word)
            for word in self.modalities[domain]
            for template in self.templates
        ]


def default_texts(names: list[str], channels_s: dict[str, str], channels_t: dict[str, str]) -> ClassTexts:
    """Texts from the names alone; modality words from the names of the channels, as nnU-Net knows CT by its name."""
    words = [tuple(dict.fromkeys(map(_modality, channels.values()))) for channels in (channels_s, channels_t)]
    return ClassTexts(tuple(names), tuple(name.replace("_", " ") for name in names), (words[0], words[1]))


def read_class_texts(file: str, texts: ClassTexts) -> ClassTexts:
    """Texts with what a JSON file says in their place.

    Args:
        file: {"classes": {name: description}, "modalities": {"source": [word], "target": [word]},
            "templates": [prompt]}; each entry is optional, and so is each class.
        texts: from `default_texts`.

    Raises:
        FileError: no such file, damaged, or another form.
        ClassTextsError: a class that the dataset has not, or a template that is none.
    """
    content = read_json(file, "texts of the classes", TEXTS_SCHEMA, f"For example: {EXAMPLE}.")
    _check_names(content, ("classes", "modalities", "templates"), f"{file}: entry")
    classes, modalities = content.get("classes", {}), content.get("modalities", {})
    templates = content.get("templates", list(texts.templates))
    _check_names(classes, texts.names, f"{file}: class")
    _check_names(modalities, ("source", "target"), f"{file}: domain under modalities")
    for template in templates:
        _check_template(file, template)
    descriptions = tuple(classes.get(name, text) for name, text in zip(texts.names, texts.descriptions))
    source, target = texts.modalities
    words = (tuple(modalities.get("source", source)), tuple(modalities.get("target", target)))
    return replace(texts, descriptions=descriptions, modalities=words, templates=tuple(templates))


def _modality(channel: str) -> str:
    words = channel.lower().replace("-", " ").replace("_", " ").split()
    if "ct" in words:
        return CT
    return MR if any(word.startswith(MR_NAMES) for word in words) else f"{channel} imaging"


def _check_template(file: str, template: str) -> None:
    try:
        parsed = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError:
        parsed = []
    # a width or a conversion (!r) is none that a prompt needs, and is found wrong only as the prompt is made
    plain = all(field in ("c", "m") and not spec and not conversion for field, spec, conversion in parsed)
    if not plain or "c" not in [field for field, _, _ in parsed]:
        raise ClassTextsError(
            f"{file}: expected a template with {{c}} for the class and, if anything, {{m}} for the "
            f"modality; got {template!r}."
        )


def _check_names(given: dict, known: tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ClassTextsError(f"{what} {name!r} is unknown.{hint} Expected some of: {', '.join(known)}.")
