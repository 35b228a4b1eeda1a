from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import open_clip
import pytest
import torch

from nnuda.text.dimension import text_dimension
from nnuda.text.prompt_encoder import build_text_encoder, prompt_tokens
from nnuda.text.towers import TextTower, load_clip

CLASSES = ["left_atrium", "myocardium of the left ventricle", "lesion"]


def saved_clip(model: str, tmp_path):
    torch.manual_seed(0)
    clip = open_clip.create_model(model)
    file = tmp_path / f"{model}.pt"
    torch.save(clip.state_dict(), file)
    return clip, file


@pytest.mark.parametrize("model", ["tiny", "tiny-quickgelu", "tiny-custom", "tiny-bidirectional"])
def test_hard_prompt_equals_encode_text(model, tmp_path):
    clip, file = saved_clip(model, tmp_path)
    for prompt in ("A photo of a source domain", "MR, T2-weighted."):
        encoder = build_text_encoder(model, str(file), CLASSES, context_length=4, domain_prompt=prompt)
        expected = clip.encode_text(open_clip.get_tokenizer(model)([prompt]))[0]
        torch.testing.assert_close(encoder().domain, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", ["tiny", "tiny-quickgelu", "tiny-custom", "tiny-bidirectional"])
def test_segmentation_prompt_with_words_for_context_equals_encode_text(model, tmp_path):
    clip, file = saved_clip(model, tmp_path)
    encoder = build_text_encoder(model, str(file), CLASSES, context_length=4)
    tokenizer = open_clip.get_tokenizer(model)
    table = getattr(clip, "text", clip).token_embedding.weight
    with torch.no_grad():
        encoder.context.copy_(table[tokenizer.encode("a photo of a")])
    expected = clip.encode_text(tokenizer([f"a photo of a {name.replace('_', ' ')}." for name in CLASSES]))
    torch.testing.assert_close(encoder().segmentation, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pad", [False, True])
def test_layout_of_the_tokens(pad):
    tokenizer = open_clip.SimpleTokenizer()
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    tokens = prompt_tokens(tokenizer, "a photo", ["left_atrium", "lesion"], 3, 77, pad)
    words = ("a", "photo", "left", "atrium", "lesion", ".")
    a, photo, left, atrium, lesion, stop = (tokenizer.encode(word) for word in words)
    rows = [
        [start, *a, *photo, end],
        [start, 0, 0, 0, *left, *atrium, *stop, end],
        [start, 0, 0, 0, *lesion, *stop, end],
    ]
    assert tokens.shape == (3, 77 if pad else max(len(row) for row in rows))
    for row, expected in zip(tokens.tolist(), rows):
        assert row[: len(expected)] == expected and set(row[len(expected) :]) <= {0}


@pytest.mark.parametrize("model", [None, "tiny"])
def test_shapes_and_dimension(model):
    encoder = build_text_encoder(model, None, CLASSES)
    domain, segmentation = encoder()
    assert encoder.dimension == text_dimension(model) == {None: 64, "tiny": 48}[model]
    assert domain.shape == (encoder.dimension,) and segmentation.shape == (3, encoder.dimension)
    assert encoder.from_scratch
    assert not torch.allclose(segmentation[0], segmentation[1])


def test_width_of_the_small_tower():
    assert build_text_encoder(None, None, CLASSES, width=32).dimension == 32


def test_context_vectors():
    torch.manual_seed(0)
    context = build_text_encoder(None, None, CLASSES, context_length=200).context
    assert context.shape == (200, 64)
    assert context.mean().item() == pytest.approx(0, abs=1e-3) and context.std().item() == pytest.approx(0.02, rel=0.05)


def test_context_moves_the_segmentation_vectors_alone():
    encoder = build_text_encoder(None, None, CLASSES)
    before = encoder()
    with torch.no_grad():
        encoder.context.normal_()
    after = encoder()
    assert torch.equal(before.domain, after.domain)
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in zip(before.segmentation, after.segmentation))


@pytest.mark.parametrize("model", [None, "tiny", "tiny-bidirectional"])
def test_gradient_reaches_every_parameter(model):
    encoder = build_text_encoder(model, None, CLASSES)
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    domain, segmentation = encoder()
    (domain.square().sum() + segmentation.pow(3).sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    touched = encoder.tower.token_embedding.weight.grad.abs().sum(1) > 0
    blank = encoder.tower.token_embedding.num_embeddings - int(touched.sum())
    assert blank <= 1  # the row of the filling


def test_gradient_of_one_class_reaches_context_and_its_words():
    encoder = build_text_encoder(None, None, CLASSES)
    encoder().segmentation[2].sum().backward()
    touched = encoder.tower.token_embedding.weight.grad.abs().sum(1) > 0
    words = encoder.tower.tokens[3, 17 : int(encoder.tower.end[3]) + 1]
    assert touched[words].all() and touched.sum() == len(set(words.tolist())) + 1  # and start-of-text
    assert (encoder.context.grad.abs().sum(1) > 0).all()


def test_small_tower_trains():
    torch.manual_seed(0)
    encoder = build_text_encoder(None, None, CLASSES)
    goal = torch.randn(4, 64)
    optimizer = torch.optim.AdamW(encoder.parameters(), 1e-3)
    losses = []
    for _ in range(60):
        domain, segmentation = encoder()
        loss = torch.nn.functional.mse_loss(torch.cat((domain[None], segmentation)), goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("model", [None, "tiny-quickgelu"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(model, dtype):
    encoder = build_text_encoder(model, None, CLASSES)
    with torch.autocast("cpu", dtype=dtype):
        inside = encoder()
        inside.segmentation.sum().backward()
    assert inside.domain.dtype == torch.float32 and torch.equal(inside.segmentation, encoder().segmentation)
    assert encoder.context.grad.isfinite().all()


def test_only_the_text_half_and_its_words_are_kept(tmp_path, monkeypatch):
    _, file = saved_clip("tiny", tmp_path)
    visuals = []

    def remember(model, file):
        clip = load_clip(model, file)
        visuals.append(weakref.ref(clip.visual))
        return clip

    monkeypatch.setattr("nnuda.text.towers.load_clip", remember)
    encoder = build_text_encoder("tiny", str(file), CLASSES)
    gc.collect()
    assert visuals[0]() is None
    assert not any("visual" in name or "logit" in name for name, _ in encoder.named_parameters())
    assert encoder.tower.token_embedding.num_embeddings == len(encoder.tower.tokens.unique()) < 25
    assert not encoder.from_scratch


def test_state_goes_into_an_encoder_of_the_same_prompts():
    torch.manual_seed(0)
    one, other = build_text_encoder(None, None, CLASSES), build_text_encoder(None, None, CLASSES)
    assert not torch.allclose(one().domain, other().domain)
    other.load_state_dict(one.state_dict())
    for a, b in zip(one(), other()):
        assert torch.equal(a, b)


def test_same_seed_gives_the_same_encoder():
    vectors = []
    for _ in range(2):
        torch.manual_seed(3)
        vectors.append(build_text_encoder("tiny", None, CLASSES)().segmentation)
    assert torch.equal(*vectors)


def test_a_prompt_too_long_is_named():
    with pytest.raises(ValueError, match="at most 40 tokens, got one of 41 with 36 context vectors"):
        build_text_encoder("tiny", None, ["lesion"], context_length=36)
    with pytest.raises(ValueError, match="at most 40 tokens, got one of 52 with 16 context vectors"):
        build_text_encoder("tiny", None, ["lesion"], domain_prompt="x " * 50)
    assert build_text_encoder("tiny", None, ["lesion"], context_length=35)().segmentation.isfinite().all()


def test_dimension_of_known_models():
    assert (text_dimension("RN50"), text_dimension("RN50-quickgelu"), text_dimension("ViT-B-32")) == (1024, 1024, 512)


def test_unknown_model_names_the_nearest():
    with pytest.raises(ValueError, match="'ViT-B/32'.*ViT-B-32"):
        text_dimension("ViT-B/32")


@pytest.mark.parametrize("model", ["ViT-B-16-SigLIP", "coca_ViT-B-32", "roberta-ViT-B-32"])
def test_text_towers_without_clips_layout_are_refused(model):
    with pytest.raises(ValueError, match=f"{model} has another"):
        build_text_encoder(model, None, CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["RN50-quickgelu", "MobileCLIP-S1"])
def test_real_architectures_fit_the_tower(model):
    """Without their weights and image halves: names and shapes of open_clip's text halves."""
    config = open_clip.get_model_config(model)
    text = open_clip.model._build_text_tower(config["embed_dim"], config["text_cfg"])
    tokens = prompt_tokens(open_clip.get_tokenizer(model), "a photo", ["lesion"], 16, 77, pad=False)
    tower = TextTower(text, tokens)
    if config["text_cfg"].get("no_causal_mask"):
        assert tower.attention_mask is None
    assert tower(tower.embed()).shape == (2, text_dimension(model)) and tower.dimension == text_dimension(model)


def test_dimension_of_the_small_tower_needs_no_open_clip():
    code = (
        "import sys; from nnuda.text.dimension import text_dimension; assert text_dimension(None) == 64; "
        "assert 'open_clip' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
