from __future__ import annotations

import math

import pytest
import torch

from nnuda.losses.domain_distillation import domain_distillation

FORMS = ("infonce", "literal")


def vectors(*similarities: float) -> torch.Tensor:
    """Unit vectors with the given cosines to (1, 0)."""
    return torch.tensor([[s, math.sqrt(1 - s * s)] for s in similarities], dtype=torch.float64)


TEXT = torch.tensor([1.0, 0.0], dtype=torch.float64)


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def naive(x_g_s, x_g_t, text_d, tau: float, form: str) -> float:
    """Equation 1 (distances 1 - sim), or the two-way InfoNCE with the prompt as anchor, pair by pair."""
    total = 0.0
    for a in x_g_s.tolist():
        for b in x_g_t.tolist():
            s_s, s_t = cosine(a, text_d.tolist()), cosine(b, text_d.tolist())
            if form == "literal":
                up, down = math.exp((1 - s_s) / tau), math.exp((1 - s_t) / tau)
                total += math.log(up / (up + down))
            else:
                up, down = math.exp(s_s / tau), math.exp(s_t / tau)
                total -= math.log(up / (up + down))
    return total / (len(x_g_s) * len(x_g_t))


@pytest.mark.parametrize("form", FORMS)
def test_equals_the_naive_loop(form):
    generator = torch.Generator().manual_seed(0)
    x_g_s, x_g_t = (torch.randn(n, 7, generator=generator, dtype=torch.float64) for n in (3, 5))
    text = torch.randn(7, generator=generator, dtype=torch.float64)
    for tau in (0.1, 1.0):
        loss = domain_distillation(x_g_s, x_g_t, text, tau, form)
        assert loss.item() == pytest.approx(naive(x_g_s, x_g_t, text, tau, form), rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck_for_all_three_inputs(form):
    torch.manual_seed(0)
    inputs = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 4), (3, 4), (4,))]
    assert torch.autograd.gradcheck(lambda a, b, c: domain_distillation(a, b, c, 0.5, form), inputs)


@pytest.mark.parametrize("tau", [0.07, 0.1, 1.0])
def test_is_log_2_at_equal_similarities(tau):
    x = vectors(0.3)
    assert domain_distillation(x, x, TEXT, tau).item() == pytest.approx(0.693147, abs=1e-6)
    assert domain_distillation(x, x, TEXT, tau, "literal").item() == pytest.approx(-0.693147, abs=1e-6)


@pytest.mark.parametrize(
    "s_s, s_t, infonce, literal", [(0.9, 0.1, 0.371101, -1.171101), (0.1, 0.9, 1.171101, -0.371101)]
)
def test_closed_forms_at_tau_1(s_s, s_t, infonce, literal):
    x_g_s, x_g_t = vectors(s_s), vectors(s_t)
    assert domain_distillation(x_g_s, x_g_t, TEXT, 1.0).item() == pytest.approx(infonce, abs=1e-6)
    assert domain_distillation(x_g_s, x_g_t, TEXT, 1.0, "literal").item() == pytest.approx(literal, abs=1e-6)


def test_literal_is_minus_intended_minus_the_difference():
    x_g_s, x_g_t = vectors(0.35), vectors(-0.6)
    for tau in (0.07, 0.1, 1.0):
        intended = domain_distillation(x_g_s, x_g_t, TEXT, tau).item()
        literal = domain_distillation(x_g_s, x_g_t, TEXT, tau, "literal").item()
        assert literal == pytest.approx(-intended - 0.95 / tau, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_similarities_at_a_low_temperature(dtype):
    x_g_s, x_g_t, text = vectors(1).to(dtype), vectors(-1).to(dtype), TEXT.to(dtype)
    assert 0 <= domain_distillation(x_g_s, x_g_t, text, 0.07).item() < 1e-12
    assert domain_distillation(x_g_s, x_g_t, text, 0.07, "literal").item() == pytest.approx(-28.571, abs=1e-3)
    assert domain_distillation(x_g_t, x_g_s, text, 0.07).item() == pytest.approx(28.571, abs=1e-3)


@pytest.mark.parametrize(
    "tau, form, slope",
    [(0.07, "infonce", 14.0918), (0.07, "literal", 0.1940), (1.0, "infonce", 0.574443), (1.0, "literal", 0.425557)],
)
def test_gradients_pull_source_to_the_prompt_and_push_target_away(tau, form, slope):
    """(s_s, s_t) = (0.2, 0.5); the first coordinate of a unit vector is its similarity to TEXT."""
    x_g_s, x_g_t = vectors(0.2).requires_grad_(), vectors(0.5).requires_grad_()
    domain_distillation(x_g_s, x_g_t, TEXT, tau, form).backward()
    # d cos / d x of a unit vector x is TEXT - cos * x; its part along itself tells the loss's slope in the cosine.
    for x, s, sign in ((x_g_s, 0.2, -1), (x_g_t, 0.5, 1)):
        direction = TEXT - s * x.detach()[0]
        measured = (x.grad[0] @ direction / (direction @ direction)).item()
        assert measured == pytest.approx(sign * slope, rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_lengths_of_the_vectors_do_not_matter(form):
    torch.manual_seed(0)
    x_g_s, x_g_t, text = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 6), (2, 6), (6,)))
    loss = domain_distillation(x_g_s, x_g_t, text, form=form)
    assert domain_distillation(50 * x_g_s, 0.02 * x_g_t, 7 * text, form=form).item() == pytest.approx(loss.item())


def test_gradient_reaches_images_and_prompt():
    torch.manual_seed(0)
    inputs = [torch.randn(*shape, requires_grad=True) for shape in ((2, 4), (2, 4), (4,))]
    domain_distillation(*inputs).backward()
    assert all(x.grad.abs().sum() > 0 for x in inputs)


@pytest.mark.parametrize("form", FORMS)
def test_fp16_of_any_size_and_zero_vectors_are_finite(form):
    x_g_s = torch.full((2, 1024), 6e4, dtype=torch.float16, requires_grad=True)
    x_g_t = torch.zeros(2, 1024, dtype=torch.float16, requires_grad=True)
    text = torch.full((1024,), -6e4, dtype=torch.float16, requires_grad=True)
    loss = domain_distillation(x_g_s, x_g_t, text, form=form)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert all(x.grad.isfinite().all() for x in (x_g_s, text))


def test_autocast_does_not_change_the_value():
    torch.manual_seed(0)
    inputs = torch.randn(2, 64), torch.randn(2, 64), torch.randn(64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = domain_distillation(*inputs)
    assert inside.dtype == torch.float32 and torch.equal(inside, domain_distillation(*inputs))


@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 4), (3,)), ((2, 3), (2, 3), (1, 3)), ((0, 3), (2, 3), (3,)), ((3,), (3,), (3,))]
)
def test_wrong_shapes_are_named(shapes):
    with pytest.raises(ValueError, match=r"x_g_s \(B_s, D\)"):
        domain_distillation(*(torch.zeros(shape) for shape in shapes))


def test_unknown_form():
    with pytest.raises(ValueError, match="'printed'"):
        domain_distillation(torch.ones(1, 2), torch.ones(1, 2), torch.ones(2), form="printed")
