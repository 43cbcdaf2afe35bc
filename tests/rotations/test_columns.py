"""What every formula shares: leading axes, dtypes, blocks, derivatives of any order, vmap and the compiler."""

import pytest
import torch

from cospeech import rotations as R
from cospeech.rotations._columns import BLOCK_ROWS, ColumnFormula

# Name, function, and the last axes of its arguments and result.
OPERATIONS = {
    "axis_angle_to_matrix": (R.axis_angle_to_matrix, [(3,)], (3, 3)),
    "axis_angle_to_quaternion": (R.axis_angle_to_quaternion, [(3,)], (4,)),
    "axis_angle_to_rot6d": (R.axis_angle_to_rot6d, [(3,)], (6,)),
    "euler_to_matrix": (lambda x: R.euler_to_matrix(x, "ZXY"), [(3,)], (3, 3)),
    "exp_map": (R.exp_map, [(3,)], (3, 3)),
    "geodesic_distance": (R.geodesic_distance, [(3, 3), (3, 3)], ()),
    "log_map": (R.log_map, [(3, 3)], (3,)),
    "matrix_to_axis_angle": (R.matrix_to_axis_angle, [(3, 3)], (3,)),
    "matrix_to_euler": (lambda x: R.matrix_to_euler(x, "ZXY"), [(3, 3)], (3,)),
    "matrix_to_quaternion": (R.matrix_to_quaternion, [(3, 3)], (4,)),
    "matrix_to_rot6d": (R.matrix_to_rot6d, [(3, 3)], (6,)),
    "matrix_to_rot6d_columns": (R.matrix_to_rot6d_columns, [(3, 3)], (6,)),
    "normalize_rot6d": (R.normalize_rot6d, [(6,)], (6,)),
    "quaternion_apply": (R.quaternion_apply, [(4,), (3,)], (3,)),
    "quaternion_conjugate": (R.quaternion_conjugate, [(4,)], (4,)),
    "quaternion_multiply": (R.quaternion_multiply, [(4,), (4,)], (4,)),
    "quaternion_to_axis_angle": (R.quaternion_to_axis_angle, [(4,)], (3,)),
    "quaternion_to_matrix": (R.quaternion_to_matrix, [(4,)], (3, 3)),
    "rot6d_columns_to_matrix": (R.rot6d_columns_to_matrix, [(6,)], (3, 3)),
    "rot6d_to_axis_angle": (R.rot6d_to_axis_angle, [(6,)], (3,)),
    "rot6d_to_matrix": (R.rot6d_to_matrix, [(6,)], (3, 3)),
    "slerp": (lambda a, b: R.slerp(a, b, 0.3), [(4,), (4,)], (4,)),
}
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())


def inputs(tails, leading, generator, dtype=torch.float64):
    made = []
    for tail in tails:
        v = torch.randn(*leading, 3, generator=generator, dtype=torch.float64)
        x = {(3,): v, (4,): R.axis_angle_to_quaternion(v), (3, 3): R.axis_angle_to_matrix(v)}.get(tail)
        made.append((R.axis_angle_to_rot6d(v) * 1.5 if x is None else x).to(dtype))
    return made


@each_operation
@pytest.mark.parametrize("leading", [(), (5,), (2, 3, 4), (0,), (2, 0, 3)])
def test_any_leading_axes(operation, leading, generator):
    function, tails, result = operation
    arguments = inputs(tails, leading, generator)
    found = function(*arguments)
    assert found.shape == (*leading, *result)
    if leading == (2, 3, 4):
        torch.testing.assert_close(found[1, 2, 3], function(*(x[1, 2, 3] for x in arguments)), atol=1e-14, rtol=0)


@each_operation
def test_no_rotations_have_no_gradient_but_a_graph(operation, generator):
    function, tails, _ = operation
    arguments = [x.requires_grad_() for x in inputs(tails, (0,), generator)]
    gradients = torch.autograd.grad(function(*arguments).sum(), arguments)
    assert [g.shape for g in gradients] == [x.shape for x in arguments]


@each_operation
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_follows_the_input(operation, dtype, generator):
    function, tails, _ = operation
    arguments = inputs(tails, (50,), generator, dtype)
    found = function(*arguments)
    assert found.dtype == dtype
    exact = function(*(x.float() for x in arguments)).to(dtype)
    torch.testing.assert_close(found, exact, atol=0, rtol=0)


@each_operation
def test_blocks_of_rows_are_the_rows(operation, generator):
    function, tails, _ = operation
    arguments = inputs(tails, (2 * BLOCK_ROWS * torch.get_num_threads() + 3,), generator, torch.float32)
    arguments = [x.requires_grad_() for x in arguments]
    found = function(*arguments)
    parts = [function(*chunks) for chunks in zip(*(x.split(1000) for x in arguments), strict=True)]
    torch.testing.assert_close(found, torch.cat(parts), atol=1e-6, rtol=0)
    grad = torch.randn(found.shape, generator=generator)
    whole = torch.autograd.grad(found, arguments, grad)
    pieces = torch.autograd.grad(torch.cat(parts), arguments, grad)
    torch.testing.assert_close(whole, pieces, atol=1e-4, rtol=1e-5)


@each_operation
def test_strides_do_not_matter(operation, generator):
    function, tails, _ = operation
    arguments = inputs(tails, (7,), generator)
    strided = [torch.stack([x, -x], -1)[..., 0] for x in arguments]
    torch.testing.assert_close(function(*strided), function(*arguments), atol=0, rtol=0)


@each_operation
def test_vmap_and_its_gradients(operation, generator):
    function, tails, _ = operation
    arguments = inputs(tails, (4,), generator)
    torch.testing.assert_close(torch.func.vmap(function)(*arguments), function(*arguments), atol=1e-14, rtol=0)
    jacobian = torch.func.vmap(torch.func.jacrev(function))(*arguments)
    single = torch.func.jacrev(function)(*(x[2] for x in arguments))
    torch.testing.assert_close(jacobian[2], single, atol=1e-12, rtol=0)


def test_vmap_over_more_rows_than_a_block_and_over_one_argument(generator):
    quaternion, vector = inputs([(4,), (3,)], (BLOCK_ROWS,), generator)
    found = torch.func.vmap(R.quaternion_apply, in_dims=(None, 0))(quaternion, torch.stack([vector, -vector]))
    torch.testing.assert_close(found[1], -R.quaternion_apply(quaternion, vector), atol=1e-14, rtol=0)


def test_leading_axes_broadcast_with_their_gradients(generator):
    quaternion, vector = inputs([(4,), (3,)], (5, 1), generator)
    quaternion, vector = quaternion[:1, 0].requires_grad_(), vector.requires_grad_()
    assert R.quaternion_apply(quaternion, vector).shape == (5, 1, 3)
    assert torch.autograd.gradcheck(R.quaternion_apply, (quaternion, vector))


def test_third_derivatives(generator):
    (axis_angle,) = inputs([(3,)], (), generator)

    def second(v):
        return torch.func.jacrev(torch.func.jacrev(lambda u: R.axis_angle_to_matrix(u)[0, 1]))(v)

    step = 1e-5
    steps = step * torch.eye(3, dtype=torch.float64)
    numerical = torch.stack([(second(axis_angle + d) - second(axis_angle - d)) / (2 * step) for d in steps], -1)
    torch.testing.assert_close(torch.func.jacrev(second)(axis_angle), numerical, atol=1e-8, rtol=0)


def test_the_adjoint_of_a_formula_without_one_is_found(generator):
    product = ColumnFormula(lambda x, y: (x[0] * y[0] * y[1],))
    x, y = torch.randn(6, 1, generator=generator).double(), torch.randn(6, 2, generator=generator).double()
    assert torch.autograd.gradcheck(product, (x.requires_grad_(), y.requires_grad_()))
    assert torch.autograd.gradgradcheck(product, (x, y))


@pytest.mark.torch26
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, of its own doing
@pytest.mark.parametrize("name", ["axis_angle_to_matrix", "matrix_to_axis_angle", "slerp", "matrix_to_euler"])
def test_the_compiler_sees_one_graph(name, generator):
    function, tails, _ = OPERATIONS[name]
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    arguments = [x.requires_grad_() for x in inputs(tails, (20,), generator)]
    found, expected = compiled(*arguments), function(*arguments)
    grad = torch.randn(found.shape, generator=generator).double()
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=0)
    torch.testing.assert_close(
        torch.autograd.grad(found, arguments, grad), torch.autograd.grad(expected, arguments, grad), atol=1e-12, rtol=0
    )
