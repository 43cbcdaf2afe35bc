"""Laws of the Fréchet distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cospeech.metrics import (
    FRECHET_RULES,
    FrechetRule,
    frechet_distance,
    frechet_distance_of_moments,
    globaldiff_frechet_distance,
    published_frechet_distance,
)


def test_closed_form_of_commuting_covariances(generator: torch.Generator) -> None:
    basis, _ = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64, generator=generator))
    for condition in (1e4, 1e12):
        a = torch.logspace(0, -torch.tensor(condition).log10().item(), 12, dtype=torch.float64)
        b = a.flip(0)
        covariances = [basis @ torch.diag(x) @ basis.T for x in (a, b)]
        mean = torch.zeros(12, dtype=torch.float64)
        exact = (a.sqrt() - b.sqrt()).square().sum() + 12 * 0.25
        ours = frechet_distance_of_moments(mean, covariances[0], mean + 0.5, covariances[1])
        assert ours.item() == pytest.approx(exact.item(), rel=1e-9)


@pytest.mark.parametrize(("count", "others"), [(200, 150), (20, 30), (20, 150), (60, 60)])
def test_both_routes_agree(count: int, others: int, generator: torch.Generator) -> None:
    """More features than channels or fewer, the moments say the same."""
    a, b = (torch.randn(n, 40, dtype=torch.float64, generator=generator) for n in (count, others))
    b = 0.5 * b + 0.2
    moments = [(x.mean(0), torch.cov(x.T)) for x in (a, b)]
    ours = frechet_distance(a, b)
    torch.testing.assert_close(ours, frechet_distance_of_moments(*moments[0], *moments[1]), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(ours, frechet_distance(b, a), rtol=1e-9, atol=1e-9)


def test_same_features_are_at_no_distance(generator: torch.Generator) -> None:
    features = torch.randn(50, 8, generator=generator)
    assert 0 <= frechet_distance(features, features.flip(0)).item() < 1e-6


def test_published_rule_agrees_where_it_is_sound(generator: torch.Generator) -> None:
    a, b = torch.randn(2, 300, 10, generator=generator)
    assert globaldiff_frechet_distance(a, 2 * b) == pytest.approx(frechet_distance(a, 2 * b).item(), rel=1e-5)


def test_a_dead_channel_does_no_harm(generator: torch.Generator) -> None:
    a, b = torch.randn(2, 100, 5, generator=generator)
    a[:, 2] = b[:, 2] = 0.0
    kept = [0, 1, 3, 4]
    torch.testing.assert_close(frechet_distance(a, b), frechet_distance(a[:, kept], b[:, kept]), rtol=1e-7, atol=1e-8)


def test_errors_say_what_must_hold() -> None:
    with pytest.raises(ValueError, match="must hold 2 features at least; got 1"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="must be finite"):
        frechet_distance(torch.full((4, 3), torch.nan), torch.zeros(4, 3))


@pytest.mark.parametrize("name", ["legacy", "motionstreamer", "globaldiff", "evaltools"])
def test_published_roots_of_full_rank_agree(name):
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(60, 6, generator=generator), 1.5 * torch.randn(50, 6, generator=generator)
    found = published_frechet_distance(a, b, FRECHET_RULES[name])
    assert found == pytest.approx(frechet_distance(a, b, rule=FRECHET_RULES[name]).item(), rel=1e-6)


def test_what_programs_do_about_complex_roots(monkeypatch):
    """SciPy's root of a singular product was complex once; here it is made so."""
    import scipy.linalg

    a, b = torch.randn(20, 3), torch.randn(20, 3)
    monkeypatch.setattr(scipy.linalg, "sqrtm", lambda x: x * 0 + 0.5j * np.eye(len(x)))
    assert published_frechet_distance(a, b, FRECHET_RULES["legacy"]) == 1e10
    with pytest.raises(ValueError, match=r"diagonal must be real; its imaginary part is 0\.5"):
        published_frechet_distance(a, b, FRECHET_RULES["motionstreamer"])
    assert np.isfinite(published_frechet_distance(a, b, FRECHET_RULES["globaldiff"]))
    calls = []

    def unfinished(x):
        calls.append(x)
        return np.full_like(x, np.inf) if len(calls) == 1 else np.eye(len(x))

    monkeypatch.setattr(scipy.linalg, "sqrtm", unfinished)
    assert np.isfinite(published_frechet_distance(a, b, FRECHET_RULES["legacy"]))
    assert len(calls) == 2  # once more with 1e-6 on the diagonals
    with pytest.raises(ValueError, match="`imaginary` must be 'drop'"):
        FrechetRule(imaginary="ignore")


@pytest.mark.parametrize(("count", "dim"), [(100, 240), (60, 512), (400, 24)])
def test_closed_form(count: int, dim: int) -> None:
    """Sets that are each other's stretched copies have covariances that commute, and then the root is known."""
    generator = torch.Generator().manual_seed(4)
    a = torch.randn(count, dim, dtype=torch.float64, generator=generator) * torch.logspace(-2, 1, dim).double()
    shift = torch.randn(dim, dtype=torch.float64, generator=generator)
    exact = shift.square().sum() + (1 - 1.7) ** 2 * torch.cov(a.T).trace()
    b = 1.7 * (a - a.mean(0)) + a.mean(0) + shift
    torch.testing.assert_close(frechet_distance(a, b), exact, rtol=1e-8, atol=0)
