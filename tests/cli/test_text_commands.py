from __future__ import annotations

import json

import numpy as np
import pytest
from planning_pairs import SOURCE, checksums, edit_json

from nnuda.cli import configure, plan_and_preprocess, plan_experiment, text_similarity
from nnuda.plan_key import KEY
from nnuda.planning.plan_embeddings import planned_class_embeddings

PAIR = ["-d", "701", "-t", "702", "-np", "1"]
VARIANT = ["-d", "701", "--as", "variant"]


def refused(command, arguments: list[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    return str(ended.value)


def test_configure_adds_embeddings_and_a_copy_keeps_them(planned, capsys):
    before = checksums(planned.preprocessed)
    configure.main([*VARIANT, "--text-model", "ngrams"])
    assert "no language model; 2 classes" in capsys.readouterr().out
    entry = planned.plan("variant")[KEY]["class_embeddings"]
    new = checksums(planned.preprocessed).keys() - before.keys()
    assert new == {f"{SOURCE}/variant.json", f"{SOURCE}/{entry['file']}"}
    assert (
        entry["classes"] == ["background", "box"]
        and entry["model"] == "ngrams"
        and entry["sha256"][:12] in entry["file"]
    )
    assert "class_embeddings" not in planned.plan()[KEY]
    configure.main(["-d", "701", "-p", "variant", "--as", "copy"])
    assert planned.plan("copy")[KEY]["class_embeddings"] == entry
    configure.main(["-d", "701", "-p", "variant", "--as", "other", "--text-model", "random"])
    assert planned.plan("other")[KEY]["class_embeddings"]["sha256"] != entry["sha256"]
    assert planned_class_embeddings(planned.plan("variant")[KEY]).names == ("background", "box")


def test_planning_takes_vectors_and_planning_again_keeps_them(planned, tmp_path):
    np.savez(tmp_path / "mine.npz", background=[1.0, 0], box=[0, 1.0])
    before = checksums(planned.of_source)
    plan_experiment.main([*PAIR, "--class-embeddings", str(tmp_path / "mine.npz")])
    entry = planned.plan()[KEY]["class_embeddings"]
    assert entry["dimension"] == 2 and np.array_equal(planned_class_embeddings(planned.plan()[KEY]).mean, np.eye(2))
    plan_experiment.main(PAIR)
    assert planned.plan()[KEY]["class_embeddings"] == entry
    after = checksums(planned.of_source)
    assert {name for name in after if after[name] != before.get(name)} == {"nnUNetPlans.json", entry["file"]}


@pytest.mark.slow
def test_a_trainer_that_reads_text_is_not_planned_without(planned, capsys):
    before = checksums(planned.preprocessed)
    message = refused(plan_and_preprocess, [*PAIR, "--clean", "-tr", "nnUDATrainerTCSA"])
    assert "nnUDATrainerTCSA reads class embeddings" in message and "--text-model ngrams" in message
    message = refused(plan_and_preprocess, [*PAIR, "--clean", "-tr", "nnUDATrainerTCSA", "--text-model", "ngrams"])
    assert "needs three classes" in message and "background, box" in message
    assert checksums(planned.preprocessed) == before
    plan_experiment.main([*PAIR, "-tr", "nnUDATrainerTCSA", "--set", "tcsa.text.weight=0"])
    plan_experiment.main([*PAIR, "-tr", "nnUDATrainerTCSA", "--set", "tcsa.text.center=none", "--text-model", "ngrams"])
    plan_experiment.main([*PAIR, "-tr", "nnUDATrainerTCSA"])  # the plan has them now
    entry = planned.plan()[KEY]["class_embeddings"]
    assert entry["model"] == "ngrams"
    (planned.of_source / entry["file"]).unlink()
    before = checksums(planned.preprocessed)
    message = refused(plan_experiment, [*PAIR, "-tr", "nnUDATrainerTCSA"])
    assert entry["file"] in message and "they are gone or others" in message
    assert checksums(planned.preprocessed) == before
    plan_experiment.main(PAIR)  # reads none


def test_words_come_from_both_domains_and_the_file(planned, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("nnuda.planning.plan_embeddings.encode_class_texts", lambda *arguments: seen.append(arguments))
    (tmp_path / "texts.json").write_text(json.dumps({"classes": {"box": "a box"}, "modalities": {"target": ["scan"]}}))
    configure.main(
        [*VARIANT, "--text-model", "RN50", "--text-weights", "w.pt", "--class-texts", str(tmp_path / "texts.json")]
    )
    texts, model, weights = seen[0]
    assert (model, weights) == ("RN50", "w.pt")
    assert (
        texts.prompts(1, 0)[0] == "A magnetic resonance imaging of a a box."
        and texts.prompts(1, 1)[1] == "There is a a box in this scan."
    )


@pytest.mark.parametrize("arguments, message", [
    (["--text-weights", "w.pt"], "name it with --text-model"),
    (["--class-texts", "t.json"], "name it with --text-model"),
    (["--class-embeddings", "e.json", "--text-model", "ngrams"], "vectors already"),
    (["--class-embeddings", "nowhere.json"], "nowhere.json"),
    (["--text-model", "RN50-quickgelu", "--text-weights", "nowhere.pt"], "neither a file nor a tag"),
    (["--text-model", "ngrams", "--class-texts", "nowhere.json"], "expected texts of the classes; got no file"),
])  # yapf: disable
def test_what_does_not_go_is_said_before_anything_is_written(planned, arguments, message):
    before = checksums(planned.preprocessed)
    assert message in refused(configure, [*VARIANT, *arguments])
    assert message in refused(plan_and_preprocess, [*PAIR, "--clean", *arguments])
    assert checksums(planned.preprocessed) == before


def test_similarity_prints_and_draws(planned, capsys, tmp_path):
    assert "no class embeddings" in refused(text_similarity, ["-d", "701"])
    configure.main([*VARIANT, "--text-model", "ngrams"])
    capsys.readouterr()
    text_similarity.main(["-d", "701", "-p", "variant"])
    printed = capsys.readouterr().out
    assert "background" in printed and "1.000" in printed and "all classes look the same" in printed
    assert (planned.of_source / "variant_text_similarity.png").stat().st_size > 1000
    text_similarity.main(["-d", "701", "-p", "variant", "-o", str(tmp_path / "x.png")])
    assert (tmp_path / "x.png").is_file()
    edit_json(planned.of_source / "variant.json", **{KEY: {**planned.plan("variant")[KEY], "class_embeddings": {
        **planned.plan("variant")[KEY]["class_embeddings"], "sha256": "0" * 64}}})  # yapf: disable
    assert "gone or others" in refused(text_similarity, ["-d", "701", "-p", "variant"])
