"""What DiffSHEG's validation measures, on the published program's own numbers."""

from __future__ import annotations

import pytest
import torch

from cospeech.metrics import correct_share, frechet_distance, mean_pairwise_difference


def assert_relative(actual, expected, tolerance):
    torch.testing.assert_close(torch.as_tensor(actual).double().flatten(), expected.double(), rtol=tolerance, atol=0)


@pytest.mark.case("diffsheg_metrics")
def test_metrics(case):
    given, expected = case.inputs, case.outputs
    assert_relative(frechet_distance(given["A"], given["B"]), expected["frechet"], 1e-6)
    # With fewer samples than channels the published matrix root is off by 1e-4; ours is exact.
    assert_relative(frechet_distance(given["A"][:12], given["B"][:10]), expected["frechet_singular"], 1e-3)
    pred, target = given["pred"], given["target"]
    assert_relative((pred.double() - target.double()).square().mean(), expected["mse"], 1e-6)
    triples = [x.unflatten(-1, (-1, 3)) for x in (pred, target)]
    assert_relative(correct_share(*triples, threshold=0.5), expected["pck"], 1e-6)
    assert_relative(mean_pairwise_difference(pred), expected["diversity"], 1e-6)
