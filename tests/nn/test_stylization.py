from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cospeech.nn import Stylization


def test_equals_its_formula_for_one_and_for_many_conditions():
    style = Stylization(6, condition_dim=5)
    for parameter in style.parameters():
        nn.init.normal_(parameter)
    for rows in (1, 3):
        x, condition = torch.randn(3, 4, 6), torch.randn(rows, 5)
        scale, shift = style.condition(F.silu(condition))[:, None].chunk(2, -1)
        expected = style.out(F.silu(style.norm(x) * (1 + scale) + shift))
        torch.testing.assert_close(style(x, style.film(F.silu(condition))), expected, rtol=1e-5, atol=1e-5)


def test_is_silent_at_first():
    style = Stylization(6, condition_dim=5)
    assert not style(torch.randn(2, 4, 6), style.film(torch.randn(2, 5))).any()
