"""Products of sparse matrices against float64 products of the dense ones."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from speechlite.core.errors import ConfigError
from speechlite.nn import sparse_product
from speechlite.nn.sparse_product import SparseMatrix, kernel_name, sparse_linear

HAS_NUMBA = importlib.util.find_spec("numba") is not None
NEEDS_NUMBA = pytest.mark.skipif(not HAS_NUMBA, reason="needs numba")


@pytest.fixture(autouse=True)
def own_choice() -> Iterator[None]:
    sparse_product._kernel.cache_clear()
    yield
    sparse_product._kernel.cache_clear()


@pytest.fixture(params=["dense, torch", pytest.param("numba", marks=NEEDS_NUMBA)])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once with each program."""
    if request.param != "numba":
        forbid_numba(monkeypatch)
    assert kernel_name() == request.param
    return request.param


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def forbid_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "speechlite.nn.sparse_product_numba", raising=False)


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


def pruned(generator: torch.Generator, *shape: int, density: float = 0.15) -> Tensor:
    return draw(generator, *shape) * (torch.rand(*shape, generator=generator) < density)


def assert_product(result: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Compare with float64, relative to the sum of the sizes of what is added."""
    expected = functional.linear(
        inputs.double(), weight.double(), None if bias is None else bias.double()
    )
    size = functional.linear(inputs.double().abs(), weight.double().abs())
    size = size if bias is None else size + bias.double().abs()
    assert result.dtype == torch.float32
    assert result.shape == expected.shape
    assert ((result - expected).abs() <= 1e-5 * size).all()


def test_product_when_shapes_are_random_then_it_equals_float64(kernel, generator):
    sizes = [0, 1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 65, 100]
    for trial in range(2500):
        rows, width, outputs = (
            sizes[index] for index in torch.randint(len(sizes), (3,), generator=generator).tolist()
        )
        density = (0.0, 0.02, 0.15, 0.5, 1.0)[trial % 5]
        weight = pruned(generator, outputs, width, density=density)
        inputs = draw(generator, rows, width)
        bias = draw(generator, outputs) if trial % 3 else None
        assert_product(sparse_linear(inputs, SparseMatrix.of(weight), bias), inputs, weight, bias)


@pytest.mark.parametrize("rows", [1, 7, 50, 64, 129])
@pytest.mark.parametrize(
    ("width", "outputs"), [(192, 768), (193, 769), (400, 1600), (1, 1537), (777, 1)]
)
def test_product_when_a_matrix_has_many_cells_then_it_equals_float64(
    kernel, rows, width, outputs, generator
):
    weight, bias = pruned(generator, outputs, width), draw(generator, outputs)
    weight[outputs // 3 : outputs // 2] = 0
    inputs = draw(generator, rows, width)
    assert_product(sparse_linear(inputs, SparseMatrix.of(weight), bias), inputs, weight, bias)


def test_product_when_inputs_have_more_or_fewer_axes_then_so_has_it(kernel, generator):
    weight, bias = pruned(generator, 30, 20), draw(generator, 30)
    matrix = SparseMatrix.of(weight)
    for shape in [(20,), (2, 3, 20), (2, 0, 20), (2, 1, 3, 20)]:
        inputs = draw(generator, *shape)
        assert_product(sparse_linear(inputs, matrix, bias), inputs, weight, bias)


def test_product_when_tensors_are_not_contiguous_then_it_is_the_same(kernel, generator):
    weight, bias = pruned(generator, 80, 50).t(), draw(generator, 100)[::2]
    inputs = draw(generator, 80, 5, 70).permute(2, 1, 0)
    before = inputs.clone()
    result = sparse_linear(inputs, SparseMatrix.of(weight), bias)
    plain = sparse_linear(before.contiguous(), SparseMatrix.of(weight.contiguous()), bias.clone())
    assert torch.equal(result, plain)
    assert torch.equal(inputs, before)
    assert_product(sparse_linear(inputs[3:4], SparseMatrix.of(weight)), inputs[3:4], weight, None)


@NEEDS_NUMBA
def test_product_when_threads_differ_then_it_is_bit_equal(monkeypatch, generator):
    monkeypatch.setattr(sparse_product, "_WORTH_THREADS", 0)
    weight, inputs = pruned(generator, 900, 300), draw(generator, 131, 300)
    matrix, threads = SparseMatrix.of(weight), torch.get_num_threads()
    results = []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            results.append(sparse_linear(inputs, matrix))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@NEEDS_NUMBA
def test_product_when_frames_stand_alone_then_each_is_bit_equal(generator):
    weight, inputs = pruned(generator, 70, 300), draw(generator, 100, 300)
    matrix = SparseMatrix.of(weight)
    together = sparse_linear(inputs, matrix)
    assert torch.equal(together, torch.stack([sparse_linear(row, matrix) for row in inputs]))
    assert torch.equal(together, sparse_linear(inputs, matrix))


@NEEDS_NUMBA
def test_product_when_inputs_are_not_finite_then_only_nonzeros_see_them():
    inf, nan = float("inf"), float("nan")
    weight = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    inputs = torch.tensor([[inf, 1.0, 1.0], [1.0, nan, 1.0], [inf, 1.0, -inf]])
    result = sparse_linear(inputs, SparseMatrix.of(weight))
    expected = torch.tensor([[inf, 3.0, 0.0], [3.0, nan, 0.0], [nan, 3.0, 0.0]])
    assert torch.allclose(result, expected, equal_nan=True)


def test_product_when_weights_are_not_finite_then_they_are_kept(kernel):
    weight = torch.tensor([[float("inf"), 0.0], [float("nan"), 1.0]])
    result = sparse_linear(torch.ones(1, 2), SparseMatrix.of(weight))
    assert result[0, 0] == float("inf")
    assert result[0, 1].isnan()


@pytest.mark.parametrize("mode", ["inference", "autocast", "parameter"])
def test_product_when_torch_is_in_a_mode_then_it_has_no_gradient(kernel, mode, generator):
    layer = nn.Linear(20, 30)
    inputs = draw(generator, 4, 20)
    matrix = SparseMatrix.of(layer.weight)
    plain = sparse_linear(inputs, matrix, layer.bias.detach())
    with torch.inference_mode(mode == "inference"), torch.autocast("cpu", enabled=mode[0] == "a"):
        result = sparse_linear(inputs, matrix, layer.bias)
    assert torch.equal(result, plain)
    assert not result.requires_grad


def test_matrix_when_built_then_it_counts_and_gives_the_weights_back(generator):
    for shape in [(0, 5), (5, 0), (3, 4), (1000, 500), (769, 193)]:
        weight = pruned(generator, *shape)
        matrix = SparseMatrix.of(weight)
        assert matrix.shape == shape
        assert matrix.nonzeros == int((weight != 0).sum())
        assert torch.equal(matrix.dense, weight)
    assert SparseMatrix.of(torch.zeros(3, 4)).nonzeros == 0


def test_matrix_when_sparse_then_it_takes_fewer_bytes(generator):
    weight = pruned(generator, 768, 768, density=0.1)
    matrix = SparseMatrix.of(weight)
    assert 6 * matrix.nonzeros <= matrix.nbytes <= 0.16 * weight.nbytes
    before = matrix.nbytes
    assert matrix.dense.shape == weight.shape
    assert matrix.nbytes == before


def test_matrix_when_the_weight_changes_then_it_stays(kernel, generator):
    weight, inputs = pruned(generator, 30, 20), draw(generator, 4, 20)
    matrix, before = SparseMatrix.of(weight), weight.clone()
    weight.zero_()
    assert_product(sparse_linear(inputs, matrix), inputs, before, None)


def test_matrix_when_copied_then_products_are_bit_equal(kernel, generator):
    matrix, inputs = SparseMatrix.of(pruned(generator, 30, 20)), draw(generator, 4, 20)
    result = sparse_linear(inputs, matrix)
    assert torch.equal(sparse_linear(inputs, copy.deepcopy(matrix)), result)
    assert torch.equal(sparse_linear(inputs, pickle.loads(pickle.dumps(matrix))), result)


@NEEDS_NUMBA
def test_kernel_when_numba_may_not_compile_then_torch_multiplies(monkeypatch):
    from speechlite.nn import sparse_product_numba

    monkeypatch.setattr(sparse_product_numba.config, "DISABLE_JIT", 1)
    assert kernel_name() == "dense, torch"


def test_matrix_when_the_weight_does_not_fit_then_it_says_so():
    with pytest.raises(ConfigError, match="weight is float16, expected float32; convert it"):
        SparseMatrix.of(torch.zeros(2, 3, dtype=torch.float16))
    with pytest.raises(ConfigError, match=r"weight has shape \(3\), expected \(any, any\)"):
        SparseMatrix.of(torch.zeros(3))
    with pytest.raises(ConfigError, match=r"weight is on meta, expected cpu; move it with \.cpu"):
        SparseMatrix.of(torch.zeros(2, 3, device="meta"))


def test_product_when_tensors_do_not_fit_then_it_says_so(kernel):
    matrix = SparseMatrix.of(torch.eye(3, 4))
    with pytest.raises(ConfigError, match=r"inputs has shape \(2, 3\), expected \(..., 4\)"):
        sparse_linear(torch.zeros(2, 3), matrix)
    with pytest.raises(ConfigError, match="inputs is bfloat16, expected float32"):
        sparse_linear(torch.zeros(2, 4, dtype=torch.bfloat16), matrix)
    with pytest.raises(ConfigError, match=r"bias has shape \(4\), expected \(3\)"):
        sparse_linear(torch.zeros(2, 4), matrix, torch.zeros(4))


def test_product_when_inputs_need_a_gradient_then_it_says_so(kernel):
    matrix, inputs = SparseMatrix.of(torch.eye(3, 4)), torch.zeros(2, 4, requires_grad=True)
    with pytest.raises(ConfigError, match="inputs need a gradient, which .* torch.no_grad"):
        sparse_linear(inputs, matrix)
    with torch.no_grad():
        assert sparse_linear(inputs, matrix).shape == (2, 3)
