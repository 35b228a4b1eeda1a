from __future__ import annotations

import json

import pytest

from nnuda.errors import NnudaError
from nnuda.text.class_texts import CT, MR, default_texts, read_class_texts

NAMES = ["background", "liver", "left_kidney"]
TEXTS = default_texts(NAMES, {"0": "CT"}, {"0": "T1", "1": "T2_SPIR"})


def write(tmp_path, content) -> str:
    file = tmp_path / "texts.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def test_defaults_come_from_names_and_channels():
    assert TEXTS.descriptions == ("background", "liver", "left kidney")
    assert TEXTS.modalities == ((CT,), (MR,))
    assert default_texts(NAMES, {"0": "LGE MR"}, {"0": "ultrasound"}).modalities == ((MR,), ("ultrasound imaging",))
    assert default_texts(NAMES, {"0": "PET", "1": "CT"}, {"0": "mri"}).modalities == (("PET imaging", CT), (MR,))


def test_prompts_are_every_template_with_every_word_of_the_domain():
    assert TEXTS.prompts(2, 0) == [
        f"A {CT} of a left kidney.",
        f"There is a left kidney in this {CT}.",
        "A photo of a left kidney.",
    ]
    assert MR in TEXTS.prompts(1, 1)[0] and CT not in "".join(TEXTS.prompts(1, 1))


def test_a_file_replaces_what_it_names(tmp_path):
    file = write(
        tmp_path,
        {
            "classes": {"liver": "the liver, a large organ"},
            "modalities": {"target": ["MR", "MRI"]},
            "templates": ["{c} in {m}"],
        },
    )
    texts = read_class_texts(file, TEXTS)
    assert texts.descriptions == ("background", "the liver, a large organ", "left kidney")
    assert texts.modalities == ((CT,), ("MR", "MRI"))
    assert texts.prompts(1, 1) == ["the liver, a large organ in MR", "the liver, a large organ in MRI"]
    assert read_class_texts(write(tmp_path, {}), TEXTS) == TEXTS


@pytest.mark.parametrize("content, message", [
    ("{", "got no JSON"),
    ("[" * 100_000, "nested too deeply"),
    ("\ufeff{}", "byte order mark"),
    (None, "got no file"),
    ([], "is not of type 'object'"),
    ({"class": {}}, "'class' is unknown. Did you mean classes"),
    ({"classes": {"livre": "x"}}, "'livre' is unknown. Did you mean liver"),
    ({"classes": ["liver"]}, "classes: .*not of type 'object'"),
    ({"classes": None}, "classes: None is not"),
    ({"classes": {"liver": 5}}, "classes.liver: 5 is not"),
    ({"classes": {"liver": " "}}, "classes.liver: ' ' does not match"),
    ({"modalities": {"target": "MR"}}, "modalities.target: 'MR' is not of type 'array'"),
    ({"modalities": {"test": ["MR"]}}, "'test' is unknown"),
    ({"modalities": {"source": []}}, r"modalities.source: \[\] should be non-empty"),
    ({"templates": []}, r"templates: \[\] should be non-empty"),
    ({"templates": ["a photo"]}, "expected a template with {c}"),
    ({"templates": ["{c} {x}"]}, "expected a template with {c}"),
    ({"templates": ["{c"]}, "expected a template with {c}"),
    ({"templates": ["{c!z} {m}"]}, "expected a template with {c}"),
    ({"templates": ["{c:999999999}"]}, "expected a template with {c}"),
    ({"templates": ["{c.__class__}"]}, "expected a template with {c}"),
    ({"templates": ["{c[0]}"]}, "expected a template with {c}"),
])  # yapf: disable
def test_refuses(tmp_path, content, message):
    file = str(tmp_path / "texts.json") if content is None else write(tmp_path, content)
    with pytest.raises(NnudaError, match=f"texts.json: .*{message}"):
        read_class_texts(file, TEXTS)
