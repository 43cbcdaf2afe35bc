"""Settings shared by every test."""

import os

import pytest
import torch

# Two OpenMP threads on two busy cores spin against each other; under xdist each worker takes one.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator, so that a failure repeats."""
    return torch.Generator().manual_seed(0)
