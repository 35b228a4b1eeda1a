"""L_DD of UUDS: pull the source's global vector to the domain prompt, push the target's away.

Reference: "Unified Uncertain Dual-prompts Cross-domain Segmentation Framework for Medical Image Segmentation"
(UUDS), ICLR 2025 submission, section 3.1.1, equations 1 and 2.

With s_s = cos(x_g_s, T^d), s_t = cos(x_g_t, T^d) and d = s_s - s_t:

- literal (equation 1 as printed, tau read inside every exponential):
  log(exp((1 - s_s) / tau) / (exp((1 - s_s) / tau) + exp((1 - s_t) / tau))) = -softplus(d / tau).
  Negative, -log 2 at s_s = s_t; its gradient is largest where the constraint already holds.
- intended ("contrastive learning by maximizing the similarity of x_g_s and T^d and minimizing that of x_g_t and T^d"):
  -log(exp(s_s / tau) / (exp(s_s / tau) + exp(s_t / tau))) = softplus(-d / tau).

Adding only the missing minus sign to the printed form gives softplus(d / tau), which drives the source *away* from the
prompt: that form is not offered.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full_type, no_autocast


def domain_distillation(
    x_g_s: Tensor,
    x_g_t: Tensor,
    text_d: Tensor,
    tau: float = 0.1,
    form: Literal["infonce", "literal"] = "infonce",
) -> Tensor:
    """Contrast source and target image vectors with the domain prompt (UUDS, equations 1 and 2).

    Equation 2 is the same function with the re-encoded synthetic source x_g^{t->s} in place of `x_g_s`. Nothing is
    detached: the gradient reaches the images' vectors and the prompt.

    Args:
        x_g_s: global vectors of source (or synthetic source) images, (B_s, D).
        x_g_t: global vectors of target images, (B_t, D).
        text_d: embedding T^d of the domain prompt, (D,).
        tau: temperature of the cosine similarities. The paper gives no value.
        form: "infonce" is what the text describes, "literal" the printed equation.

    Returns:
        Scalar, the mean over all B_s x B_t pairs.

    Raises:
        ValueError: for shapes other than the above, an empty domain, or an unknown form.
    """
    _check_shapes(x_g_s, x_g_t, text_d)
    with no_autocast(x_g_s):
        difference = _similarity(x_g_s, text_d)[:, None] - _similarity(x_g_t, text_d)[None, :]
        if form == "infonce":
            return F.softplus(-difference / tau).mean()
        if form == "literal":
            return -F.softplus(difference / tau).mean()
    raise ValueError(f"form is 'infonce' or 'literal', got {form!r}")


def _similarity(vectors: Tensor, text: Tensor) -> Tensor:
    dtype = full_type(vectors)
    return F.cosine_similarity(vectors.to(dtype), text.to(dtype)[None, :], dim=1)


def _check_shapes(x_g_s: Tensor, x_g_t: Tensor, text_d: Tensor) -> None:
    fits = x_g_s.ndim == x_g_t.ndim == 2 and x_g_s.shape[1] == x_g_t.shape[1] and text_d.shape == x_g_s.shape[1:]
    if not fits or 0 in x_g_s.shape or 0 in x_g_t.shape:
        raise ValueError(
            "domain_distillation expects x_g_s (B_s, D), x_g_t (B_t, D) and text_d (D,) with at least one vector a "
            f"domain; got {tuple(x_g_s.shape)}, {tuple(x_g_t.shape)} and {tuple(text_d.shape)}"
        )
