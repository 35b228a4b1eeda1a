from __future__ import annotations

import json

import pytest

from nnuda.text.class_texts import CT, MR, ClassTextsError, default_texts, read_class_texts

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
    ("{", "Expected a JSON file of class texts"),
    ([], "expected an object with classes"),
    ({"class": {}}, "'class' is unknown. Did you mean classes"),
    ({"classes": {"livre": "x"}}, "'livre' is unknown. Did you mean liver"),
    ({"classes": ["liver"]}, "expected objects under classes"),
    ({"classes": {"liver": " "}}, "expected a list of texts under classes"),
    ({"modalities": {"target": "MR"}}, "expected a list of texts under target"),
    ({"modalities": {"test": ["MR"]}}, "'test' is unknown"),
    ({"modalities": {"source": []}}, "expected a list of texts under source"),
    ({"templates": []}, "expected a list of texts under templates"),
    ({"templates": ["a photo"]}, "expected a template with {c}"),
    ({"templates": ["{c} {x}"]}, "expected a template with {c}"),
    ({"templates": ["{c"]}, "expected a template with {c}"),
])  # yapf: disable
def test_refuses(tmp_path, content, message):
    with pytest.raises(ClassTextsError, match=message):
        read_class_texts(write(tmp_path, content), TEXTS)


def test_no_such_file():
    with pytest.raises(ClassTextsError, match="nowhere.json"):
        read_class_texts("nowhere.json", TEXTS)
