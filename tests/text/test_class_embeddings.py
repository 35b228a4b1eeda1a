from __future__ import annotations

import hashlib
import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from nnuda.errors import NnudaError
from nnuda.files import FileError
from nnuda.text.class_embeddings import ClassEmbeddings, describe, encode_class_texts, load, read_embeddings_file, store
from nnuda.text.class_encoders import hugging_face_encoder, ngram_vectors
from nnuda.text.class_texts import ClassTextsError, default_texts
from nnuda.text.weights import TextEncoderUnavailable

NAMES = ["background", "liver", "left_kidney", "right_kidney"]
TEXTS = default_texts(NAMES, {"0": "CT"}, {"0": "MR"})


def clip_file(tmp_path: Path) -> tuple[torch.nn.Module, str]:
    torch.manual_seed(0)
    model, file = open_clip.create_model("tiny").eval(), tmp_path / "clip.pt"
    torch.save(model.state_dict(), file)
    return model, str(file)


def test_clip_vectors_are_the_mean_over_prompts_of_both_domains(tmp_path, network_attempts):
    model, file = clip_file(tmp_path)
    made = encode_class_texts(TEXTS, "tiny", file)
    tokenizer = open_clip.get_tokenizer("tiny")
    with torch.no_grad():
        for domain in range(2):
            for k in range(len(NAMES)):
                expected = sum(model.encode_text(tokenizer([prompt]))[0] for prompt in TEXTS.prompts(k, domain)) / 3
                np.testing.assert_allclose(made.by_domain[domain, k], expected / expected.norm(), atol=1e-5)
    mean = made.by_domain.mean(0)
    np.testing.assert_allclose(made.mean, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    assert not np.allclose(made.by_domain[0], made.by_domain[1], atol=1e-3)
    assert made.origin["weights"]["sha256"] == hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert made.origin["templates"] and not network_attempts


def test_a_text_that_the_encoder_would_cut_off_is_refused(tmp_path):
    file = clip_file(tmp_path)[1]
    texts = replace(TEXTS, descriptions=(*TEXTS.descriptions[:-1], "a very long description " * 30))
    with pytest.raises(ClassTextsError, match="texts of at most .* tokens.*a very long description"):
        encode_class_texts(texts, "tiny", file)


def test_weights_that_cannot_be_had_name_the_ways_out(monkeypatch, network_attempts):
    with pytest.raises(
        TextEncoderUnavailable,
        match="(?s)cannot be reached from here.*Three ways out.*small.*"
        "--text-weights FILE.*ngrams.*--class-embeddings FILE",
    ):
        encode_class_texts(TEXTS, "tiny-quickgelu", "small")
    assert len(network_attempts) == 1


@pytest.mark.parametrize("model, weights, message", [
    ("tiny", None, "needs --text-weights"),
    ("ngrams", "w.pt", "takes none"),
    ("random:2", "w.pt", "takes none"),
    ("hf:someone/bert", "w.pt", "takes none"),
    *((f"random:{seed}", None, "from 0 to 4294967295; got 'random:") for seed in ("x", "-1", "1.5", 2**32, "9" * 5000)),
])  # yapf: disable
def test_weights_that_are_missing_or_superfluous(model, weights, message):
    with pytest.raises(ClassTextsError, match=message):
        encode_class_texts(TEXTS, model, weights)


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(ValueError, match="Nearest: .*RN50"):
        encode_class_texts(TEXTS, "RN5", "openai")


def test_ngrams_share_what_the_words_share():
    vectors = encode_class_texts(TEXTS, "ngrams").mean
    cosines = vectors @ vectors.T
    assert cosines[2, 3] > 0.4 > 0.1 > cosines[1, 2] and np.array_equal(
        vectors, encode_class_texts(TEXTS, "ngrams").mean
    )
    counts = ngram_vectors(["Liver", "liver, liver"])  # " li", "liv", "ive", "ver", "er ", and the word
    assert counts.tolist() == [[1] * 6, [2] * 6]


def test_random_is_seeded_and_said():
    made = [encode_class_texts(TEXTS, model) for model in ("random", "random:0", "random:1")]
    assert np.array_equal(made[0].mean, made[1].mean) and not np.allclose(made[0].mean, made[2].mean)
    assert "RANDOM" in describe(made[2]) and "n-grams" in describe(encode_class_texts(TEXTS, "ngrams"))


def test_classes_that_cannot_be_told_apart():
    with pytest.raises(ClassTextsError, match="left_kidney and right_kidney have the same embedding"):
        texts = default_texts(NAMES, {"0": "CT"}, {"0": "MR"})
        encode_class_texts(
            type(texts)(texts.names, ("background", "liver", "kidney", "kidney"), texts.modalities), "ngrams"
        )


# ---- vectors of one's own -------------------------------------------------------------------------------------------


def write(tmp_path, vectors: dict, suffix: str) -> str:
    file = tmp_path / f"mine{suffix}"
    if suffix == ".npz":
        np.savez(file, **vectors)
    else:
        file.write_text(json.dumps({name: list(vector) for name, vector in vectors.items()}))
    return str(file)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_file_of_vectors_is_taken_by_name(tmp_path, suffix):
    vectors = {name: np.eye(4)[i] * 5 + 1 for i, name in enumerate(NAMES)}
    made = read_embeddings_file(write(tmp_path, dict(reversed(vectors.items())), suffix), NAMES)
    expected = np.stack([vectors[name] for name in NAMES])
    np.testing.assert_allclose(made.mean, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert made.names == tuple(NAMES) and np.array_equal(made.by_domain[0], made.by_domain[1])


@pytest.mark.parametrize("change, message", [
    ({"liver": None}, "missing: liver"),
    ({"spleen": [1.0, 2]}, "unknown: spleen"),
    ({"liver": [1.0, 2, 3]}, "vectors of one length"),
    ({"liver": [[1.0, 2]]}, "vectors of one length"),
    ({"liver": [0.0, 0]}, "not 0"),
    ({"liver": [float("nan"), 0]}, "liver.0: expected a finite number"),
    ({"liver": [1e308, 1e308]}, "mine.json: .*overflows; got others for liver"),
    ({"liver": [1e-200, 0]}, "mine.json: .*not 0.*got others for liver"),
    ({"liver": [10**400, 1]}, "mine.json"),
    ({"liver": [True, 1]}, "mine.json"),
    ({"liver": [1.0, 2.0], "background": [2.0, 4.0]}, "same embedding"),
    ({"liver": "abc"}, "one vector per class"),
])  # yapf: disable
def test_a_file_that_does_not_fit(tmp_path, change, message):
    content = {**{name: [1.0, i] for i, name in enumerate(NAMES)}, **change}
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({name: vector for name, vector in content.items() if vector is not None}))
    with pytest.raises(NnudaError, match=message):
        read_embeddings_file(str(file), NAMES)


def test_no_such_file_and_no_object(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    for file in ("nowhere.json", "nowhere.npz", str(tmp_path / "list.json")):
        with pytest.raises(FileError, match="one vector per class"):
            read_embeddings_file(file, NAMES)


# ---- beside the plan ------------------------------------------------------------------------------------------------


def test_stored_and_read_again(tmp_path):
    made, folder = encode_class_texts(TEXTS, "ngrams"), tmp_path / "plan"
    entry = store(made, str(folder))
    assert entry == store(made, str(folder)) and [file.name for file in folder.iterdir()] == [entry["file"]]
    assert json.loads(json.dumps(entry)) == entry and entry["dimension"] == made.mean.shape[1]
    again = load(entry, str(folder), NAMES)
    assert isinstance(again, ClassEmbeddings) and np.array_equal(again.by_domain, made.by_domain)
    assert again.names == made.names and again.origin == made.origin
    assert store(encode_class_texts(TEXTS, "random"), str(folder))["file"] != entry["file"]


def test_no_embeddings_others_or_of_other_classes(tmp_path):
    with pytest.raises(ClassTextsError, match="no class embeddings. Make a plan with them: nnUDA_configure"):
        load(None, str(tmp_path), NAMES)
    entry = store(encode_class_texts(TEXTS, "ngrams"), str(tmp_path))
    with pytest.raises(ClassTextsError, match="expected embeddings of background, spleen"):
        load(entry, str(tmp_path), ["background", "spleen"])
    (tmp_path / entry["file"]).write_bytes(b"other")
    with pytest.raises(ClassTextsError, match="gone or others"):
        load(entry, str(tmp_path), NAMES)


# ---- Hugging Face ---------------------------------------------------------------------------------------------------


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TextEncoderUnavailable, match=r'pip install "nnuda\[hf\]"'):
        encode_class_texts(TEXTS, "hf:someone/bert")


class Tokenizer:
    """One token a letter."""

    @staticmethod
    def from_pretrained(folder, local_files_only):
        return Tokenizer()

    def __call__(self, texts, padding, truncation, return_tensors):
        longest = max(map(len, texts))
        ids = torch.tensor([[ord(c) for c in text] + [0] * (longest - len(text)) for text in texts])
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class Model(torch.nn.Module):
    @staticmethod
    def from_pretrained(folder, local_files_only):
        return Model()

    def forward(self, input_ids, attention_mask):
        state = torch.stack((input_ids.float(), 2.0 - input_ids.float()), 2)
        return types.SimpleNamespace(last_hidden_state=state)


@pytest.fixture
def transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(AutoModel=Model, AutoTokenizer=Tokenizer))


def test_a_hugging_face_vector_is_the_mean_over_the_tokens_alone(transformers, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    encode, weights = hugging_face_encoder(str(tmp_path))
    np.testing.assert_allclose(encode(["ab", "abcd"]), [[97.5, -95.5], [98.5, -96.5]])
    assert weights["file"] == str(tmp_path)
    assert weights["sha256"] == hashlib.sha256(hashlib.sha256(b"weights").hexdigest().encode()).hexdigest()


def test_a_hugging_face_model_that_cannot_be_had(transformers, network_attempts):
    with pytest.raises(
        TextEncoderUnavailable,
        match="(?s)'someone/bert' is neither a folder nor in the local cache.*cannot be reached.*Three ways out",
    ):
        hugging_face_encoder("someone/bert")
    assert len(network_attempts) == 1


def test_a_repository_of_open_clips_gives_clips_vectors(monkeypatch, tmp_path, network_attempts):
    """As BiomedCLIP's is laid out; of CLIP's own architecture it needs no transformers."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-custom").eval()
    config = {"model_cfg": open_clip.get_model_config("tiny-custom"), "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(TextEncoderUnavailable, match="with its weights in"):
        hugging_face_encoder(str(tmp_path))
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    encode, weights = hugging_face_encoder(str(tmp_path))
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("tiny-custom")(["a liver", "a kidney"])).numpy()
    np.testing.assert_allclose(encode(["a liver", "a kidney"]), expected, atol=1e-6)
    content = hashlib.sha256((tmp_path / "open_clip_pytorch_model.bin").read_bytes()).hexdigest()
    assert weights["sha256"] == hashlib.sha256(content.encode()).hexdigest() and not network_attempts
