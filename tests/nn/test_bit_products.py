"""One-bit products against float64 products of signs, for every kernel that this machine has."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from speechlite.core.errors import ConfigError, DataError
from speechlite.nn import bit_kernels, bit_products, bit_products_native

VARIABLE = "SPEECHLITE_BIT_KERNEL"
HAS_COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
HAS_NUMBA = importlib.util.find_spec("numba") is not None
NEEDS_NUMBA = pytest.mark.skipif(not HAS_NUMBA, reason="needs numba")
NEEDS_COMPILER = pytest.mark.skipif(not HAS_COMPILER, reason="needs a compiler")
WIDTHS = [0, 1, 2, 7, 8, 9, 31, 63, 64, 65, 127, 128, 129, 200, 511, 512, 513, 768]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv(VARIABLE, raising=False)
    bit_kernels._choose.cache_clear()
    yield
    monkeypatch.undo()
    bit_kernels._choose.cache_clear()


@pytest.fixture(
    params=[
        "torch",
        pytest.param("numba", marks=NEEDS_NUMBA),
        pytest.param("c++", marks=NEEDS_COMPILER),
        pytest.param("c++ popcnt", marks=NEEDS_COMPILER),
    ]
)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once with each kernel, with C++ also as a processor without AVX-512 has it."""
    if request.param == "c++ popcnt":
        monkeypatch.setattr(bit_products_native, "_level", lambda library: 1)
    monkeypatch.setenv(VARIABLE, request.param.partition(" ")[0])
    assert bit_products.kernel_name().startswith(request.param)
    return request.param


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator)


def sizes(generator: torch.Generator, count: int, largest: int) -> list[int]:
    return torch.randint(0, largest + 1, (count,), generator=generator).tolist()


def signs(values: Tensor, threshold: Tensor | float = 0.0) -> Tensor:
    return torch.where(values >= threshold, 1.0, -1.0).double()


def zero() -> Tensor:
    return torch.tensor(0.0)


def expected_product(left: Tensor, right: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Multiply in float64, then round at each step, as the contract says."""
    return (left @ right.transpose(1, 2)).float() * scale + bias


def test_products_when_shapes_are_random_then_they_equal_float64(kernel, generator):
    for trial in range(1000):
        groups, rows, columns, extra = sizes(generator, 4, 3)
        rows, columns = rows * 3 + extra, columns * 13 + extra
        width = WIDTHS[trial % len(WIDTHS)]
        shared = groups if trial % 2 else 1
        a, b = draw(generator, groups, rows, width), draw(generator, shared, columns, width)
        threshold = draw(generator, width)
        scale, bias = draw(generator, columns), draw(generator, columns)
        words_a, words_b = bit_products.pack(a, threshold), bit_products.pack(b, zero())
        signed = bit_products.signed_product(words_a, words_b, width, scale, bias)
        unsigned = bit_products.unsigned_product(words_a, words_b, width, scale, bias)
        reached = (a >= threshold).double()
        assert torch.equal(signed, expected_product(signs(a, threshold), signs(b), scale, bias))
        assert torch.equal(unsigned, expected_product(reached, signs(b), scale, bias))


@pytest.mark.parametrize("width", WIDTHS)
def test_pack_when_read_bit_by_bit_then_each_is_its_comparison(kernel, width, generator):
    values, threshold = draw(generator, 2, 3, width), draw(generator, width)
    words = bit_products.pack(values, threshold)
    assert words.shape == (2, 3, -(-width // 64))
    for place in torch.cartesian_prod(torch.arange(2), torch.arange(3)).tolist():
        row = [int(word) % 2**64 for word in words[tuple(place)]]
        number = sum(word << 64 * index for index, word in enumerate(row))
        reached = (values[tuple(place)] >= threshold).tolist()
        assert number == sum(1 << k for k, bit in enumerate(reached) if bit)


def test_pack_when_values_are_not_finite_then_nan_reaches_nothing(kernel):
    nan, inf = float("nan"), float("inf")
    values = torch.tensor([nan, inf, -inf, 0.0, -0.0, 1.0] * 20)
    expected = torch.tensor([False, True, False, True, True, True] * 20)
    ones = torch.where(expected, 1.0, -1.0)
    assert torch.equal(bit_products.pack(values, zero()), bit_products.pack(ones, zero()))
    no_bits = bit_products.pack(values, torch.full((120,), nan))
    assert torch.equal(no_bits, torch.zeros(2, dtype=torch.int64))
    assert torch.equal(bit_products.pack(values, torch.tensor(nan)), no_bits)


def test_products_when_inputs_are_not_contiguous_then_they_stay(kernel, generator):
    values, threshold = draw(generator, 130, 9, 2), draw(generator, 260)[::2]
    words = bit_products.pack(values.permute(2, 1, 0), threshold)
    assert torch.equal(
        words, bit_products.pack(values.permute(2, 1, 0).contiguous(), threshold.contiguous())
    )
    scale = draw(generator, 18)[::2]
    crossed, plain = words.transpose(0, 1), words.transpose(0, 1).contiguous()
    product = bit_products.signed_product(crossed[:, :, :], crossed, 130, scale[:2], scale[2:4])
    assert torch.equal(
        product, bit_products.signed_product(plain, plain, 130, scale[:2], scale[2:4])
    )


def test_products_when_gradients_are_on_then_the_result_has_none(generator):
    values = draw(generator, 1, 3, 70).requires_grad_()
    scale = torch.ones(3, requires_grad=True)
    words = bit_products.pack(values, zero())
    assert not bit_products.signed_product(words, words, 70, scale).requires_grad


@pytest.mark.parametrize("mode", ["inference", "autocast"])
def test_products_when_torch_is_in_a_mode_then_they_stay(kernel, mode, generator):
    values, taps = draw(generator, 1, 40, 333), draw(generator, 40, 9)
    words, kernel_words = bit_products.pack(values, zero()), bit_products.pack(taps, zero())
    plain = bit_products.signed_product(words, words, 333)
    slid = bit_products.depthwise_product(values, zero(), kernel_words, 9)
    modes = {"inference": torch.inference_mode(), "autocast": torch.autocast("cpu", torch.bfloat16)}
    with modes[mode]:
        assert torch.equal(bit_products.signed_product(words, words, 333), plain)
        assert torch.equal(bit_products.depthwise_product(values, zero(), kernel_words, 9), slid)


@pytest.mark.parametrize(("groups", "shared"), [(1, 1), (3, 1), (3, 3)])
def test_products_when_threads_share_the_work_then_they_stay(
    kernel, groups, shared, monkeypatch, generator
):
    monkeypatch.setattr(bit_kernels, "_WORTH_THREADS", 1)
    a = bit_products.pack(draw(generator, groups, 23, 100), zero())
    b = bit_products.pack(draw(generator, shared, 37, 100), zero())
    values, taps = draw(generator, 3, 4, 99), bit_products.pack(draw(generator, 4, 5), zero())
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            with torch.inference_mode():
                slid = bit_products.depthwise_product(values, zero(), taps, 5)
                results.append((bit_products.signed_product(a, b, 100), slid))
    finally:
        torch.set_num_threads(threads)
    for product, slid in results[1:]:
        assert torch.equal(product, results[0][0])
        assert torch.equal(slid, results[0][1])


@pytest.mark.parametrize("unsigned", [False, True])
def test_depthwise_when_shapes_are_random_then_it_equals_float64(kernel, unsigned, generator):
    for trial in range(300):
        batch, channels = sizes(generator, 2, 4)
        width = (1, 2, 31, 32, 33, 63, 64)[trial % 7]
        stride = (1, 2, 3, 10, 65, 130)[trial % 6]
        samples = width + sizes(generator, 1, 260)[0]
        values, taps = draw(generator, batch, channels, samples), draw(generator, channels, width)
        threshold = draw(generator, channels) if trial % 2 else torch.tensor(0.3)
        scale, bias = draw(generator, channels), draw(generator, channels)
        words = bit_products.pack(taps, zero())
        found = bit_products.depthwise_product(
            values, threshold, words, width, scale, bias, stride=stride, unsigned=unsigned
        )
        inputs = signs(values, threshold.view(-1, 1))
        inputs = (inputs + 1) / 2 if unsigned else inputs
        sums = (inputs.unfold(2, width, stride) * signs(taps).unsqueeze(1)).sum(3)
        assert torch.equal(found, sums.float() * scale.view(-1, 1) + bias.view(-1, 1))


def test_depthwise_when_padding_lies_below_the_threshold_then_it_adds_nothing(generator):
    values, taps = draw(generator, 2, 3, 40), draw(generator, 3, 7)
    padded = functional.pad(values, (3, 3), value=-float("inf"))
    words = bit_products.pack(taps, zero())
    found = bit_products.depthwise_product(padded, zero(), words, 7, unsigned=True)
    ones = (values >= 0).float()
    expected = functional.conv1d(ones, signs(taps).float().unsqueeze(1), padding=3, groups=3)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("width", WIDTHS)
def test_store_when_loaded_again_then_the_words_are_the_same(width, generator):
    words = bit_products.pack(draw(generator, 2, 3, width), zero())
    stored = bit_products.store(words, width)
    assert stored.dtype == torch.uint8
    assert stored.shape == (2, 3, -(-width // 8))
    assert torch.equal(bit_products.load(stored, width), words)


def test_store_when_bits_are_known_then_the_low_bit_comes_first():
    values = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 1.0])
    words = bit_products.pack(values, zero())
    assert bit_products.store(words, 10).tolist() == [0b00001101, 0b10]


def test_load_when_bits_beyond_the_width_are_set_then_it_says_so():
    with pytest.raises(DataError, match="packed bits are set beyond the width of 9"):
        bit_products.load(torch.tensor([0, 2], dtype=torch.uint8), 9)


def ints(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bit_products.pack(torch.zeros(3).double(), zero()), "values is float64, expected"),
        (lambda: bit_products.pack(zero(), zero()), r"values has shape \(\), expected \(..., any"),
        (lambda: bit_products.pack(torch.zeros(3, device="meta"), zero()), "is on meta, expected"),
        (lambda: bit_products.pack(torch.zeros(3), torch.zeros(2)), r"threshold has shape \(2\)"),
        (lambda: bit_products.store(ints(2), 64), r"words has shape \(2\), expected \(..., 1\)"),
        (lambda: bit_products.load(ints(8), 64), "bytes is int64, expected uint8"),
        (lambda: bit_products.load(ints(7).to(torch.uint8), 64), r"shape \(7\), expected"),
        (lambda: bit_products.load(ints(7).to(torch.uint8), -1), "width is -1, expected 0 to"),
        (lambda: bit_products.signed_product(ints(1, 1), ints(1, 1, 1), 1), "a has shape"),
        (lambda: bit_products.signed_product(ints(1, 1, 1), ints(1, 1), 1), "b has shape"),
        (lambda: bit_products.signed_product(ints(3, 1, 1), ints(2, 1, 1), 1), "b has shape"),
        (lambda: bit_products.signed_product(ints(1, 1, 2), ints(1, 1, 1), 65), "b has shape"),
        (lambda: bit_products.signed_product(ints(1, 1, 1), ints(1, 1, 1), 2**25), "width is"),
        (
            lambda: bit_products.unsigned_product(
                ints(1, 1, 1), ints(1, 2, 1), 1, torch.ones(2), torch.ones(1)
            ),
            r"bias has shape \(1\), expected \(2\)",
        ),
    ],
)
def test_products_when_tensors_do_not_fit_then_they_say_which(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


@pytest.mark.parametrize(
    ("samples", "width", "stride", "message"),
    [
        (100, 65, 1, "width is 65 taps, expected 1 to 64"),
        (100, 0, 1, "width is 0 taps, expected 1 to 64"),
        (100, 3, 0, "stride is 0, expected at least 1"),
        (2, 3, 1, "values have 2 frames, expected at least the width of 3"),
    ],
)
def test_depthwise_when_numbers_do_not_fit_then_it_says_which(samples, width, stride, message):
    values = torch.zeros(1, 2, samples)
    with pytest.raises(ConfigError, match=message):
        bit_products.depthwise_product(values, zero(), ints(2, 1), width, stride=stride)
