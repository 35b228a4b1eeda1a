"""The words that stand for each class: names, descriptions, modality words and the prompts made of them."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter

from nnuda.errors import NnudaError

TEMPLATES = ("A {m} of a {c}.", "There is a {c} in this {m}.", "A photo of a {c}.")
"""The three of MulModSeg (WACV 2025), from which TCSA-UDA's fusion comes; {m} is a modality, {c} a class. To average
over templates is CoPT's (ECCV 2024)."""
CT, MR = "computed tomography imaging", "magnetic resonance imaging"  # MulModSeg's words
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
        ClassTextsError: no such file, another form, or a class that the dataset has not.
    """
    content = _read_object(file)
    _check_names(content, ("classes", "modalities", "templates"), f"{file}: entry")
    classes, modalities = content.get("classes", {}), content.get("modalities", {})
    templates = content.get("templates", list(texts.templates))
    if not isinstance(classes, dict) or not isinstance(modalities, dict):
        raise ClassTextsError(
            f'{file}: expected objects under classes and modalities, for example {{"classes": {{"liver": "liver"}}}}.'
        )
    _check_names(classes, texts.names, f"{file}: class")
    _check_names(modalities, ("source", "target"), f"{file}: domain under modalities")
    for where, words in {"templates": templates, **modalities, "classes": list(classes.values())}.items():
        texts_only = isinstance(words, list) and all(isinstance(word, str) and word.strip() for word in words)
        if not texts_only or not (words or where == "classes"):
            raise ClassTextsError(f"{file}: expected a list of texts under {where}; got {json.dumps(words)}.")
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
        fields = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
    except ValueError:
        fields = set()
    if "c" not in fields or not fields <= {"c", "m"}:
        raise ClassTextsError(
            f"{file}: expected a template with {{c}} for the class and, if anything, {{m}} for the "
            f"modality; got {template!r}."
        )


def _read_object(file: str) -> dict:
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ClassTextsError(f"Expected a JSON file of class texts in {file}: {error}") from error
    if not isinstance(content, dict):
        raise ClassTextsError(
            f"{file}: expected an object with classes, modalities or templates; got {type(content).__name__}."
        )
    return content


def _check_names(given: dict, known: tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ClassTextsError(f"{what} {name!r} is unknown.{hint} Expected some of: {', '.join(known)}.")
