from __future__ import annotations

import pytest
import torch
from torch import nn

from cospeech.nn import optimize
from cospeech.nn.optimization import (
    BFloat16Linear,
    ColumnMajorLinear,
    FixedRowsLinear,
    Int8Linear,
    PackedLinear,
    RowwiseInt8Linear,
)

TOLERANCE = {
    ColumnMajorLinear: 1e-6,
    PackedLinear: 1e-6,
    FixedRowsLinear: 1e-6,
    BFloat16Linear: 1e-2,
    Int8Linear: 2e-2,
    RowwiseInt8Linear: 2e-2,
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)) for _ in range(2))

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.drop = blocks, nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                x = x + self.drop(block(x))
            return x

    return nn.Sequential(Residual(), nn.Linear(64, 8, bias=False))


@pytest.mark.parametrize("kernel", TOLERANCE, ids=lambda kernel: kernel.__name__)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(24, 64), (2, 12, 64), (7, 64), (1, 64)])
def test_each_kernel_equals_the_plain_layer(kernel: type, bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(64, 32, bias=bias), torch.randn(shape)
    with torch.inference_mode():
        expected, got = linear(x), kernel(linear, 24)(x)
    assert got.shape == expected.shape
    assert got.dtype == x.dtype
    assert (got - expected).norm() <= TOLERANCE[kernel] * expected.norm()


def test_int8_of_zeros_is_the_bias() -> None:
    linear = nn.Linear(8, 4)
    with torch.no_grad():
        linear.weight.zero_()
        torch.testing.assert_close(Int8Linear(linear, 3)(torch.zeros(3, 8)), linear.bias.expand(3, 4))


def test_row_by_row_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 32)
    for rows in (1, 2, 4, 5, 9):
        x = torch.randn(rows, 64)
        assert torch.equal(RowwiseInt8Linear(linear, 4)(x), Int8Linear(linear, 4)(x))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2), ("int8", 5e-2)])
def test_the_copy_gives_the_same_numbers(precision: str, tolerance: float) -> None:
    plain, x = network().eval(), torch.randn(2, 30, 64)
    with torch.inference_mode():
        expected, got = plain(x), optimize(plain, precision=precision, rows=60)(x)
    assert (got - expected).norm() <= tolerance * expected.norm()


def test_the_original_is_untouched_and_weights_are_shared_where_they_can_be() -> None:
    plain = network().train()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    fast = optimize(plain)
    assert plain.training
    assert not fast.training
    assert all(type(part) is not PackedLinear for part in plain.modules())
    for name, value in plain.state_dict().items():
        assert torch.equal(value, before[name])
    plain_pointers = {parameter.data_ptr() for parameter in plain.parameters()}
    assert {parameter.data_ptr() for parameter in fast.parameters()} <= plain_pointers


def test_nothing_global_changes() -> None:
    before = (torch.get_num_threads(), torch.random.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype())
    optimize(network())
    after = (torch.get_num_threads(), torch.random.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype())
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert before[2:] == after[2:]


def test_a_linear_alone_may_be_given() -> None:
    linear, x = nn.Linear(64, 64), torch.randn(5, 64)
    with torch.inference_mode():
        torch.testing.assert_close(optimize(linear, rows=5)(x), linear(x), atol=1e-5, rtol=0)


def test_layers_of_other_dtypes_stay_as_they_are() -> None:
    linear = nn.Linear(8, 8).double()
    assert type(optimize(nn.Sequential(linear))[0]) is nn.Linear


def test_a_build_without_the_private_kernels_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **kwargs: object) -> None:
        raise NotImplementedError("no such operator here")

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", missing, raising=False)
    monkeypatch.setattr(torch.ops.mkl, "_mkl_reorder_linear_weight", missing, raising=False)
    monkeypatch.setattr(torch, "_int_mm", missing, raising=False)
    plain, x = network().eval(), torch.randn(64, 64)
    fast = optimize(plain, precision="int8")
    assert not any(isinstance(part, PackedLinear | FixedRowsLinear | Int8Linear) for part in fast.modules())
    with torch.inference_mode():
        assert (fast(x) - plain(x)).norm() <= 3e-2 * plain(x).norm()


def test_a_kernel_that_computes_something_else_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda self, x: x.new_zeros(*x.shape[:-1], self.out_features))
    assert not any(isinstance(part, PackedLinear) for part in optimize(network()).modules())


def test_compiled_blocks_give_the_same_numbers() -> None:
    plain, x = network().eval(), torch.randn(4, 64)
    fast = optimize(plain, rows=4, compiled=True)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-5)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="Unknown precision 'int4'; choose from float32, bfloat16, int8"):
        optimize(network(), precision="int4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`rows` must be positive; got 0"):
        optimize(network(), rows=0)
