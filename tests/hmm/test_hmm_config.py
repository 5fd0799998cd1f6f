from __future__ import annotations

import math
import subprocess
import sys

import pytest

from speechlite.core.errors import ConfigError
from speechlite.hmm.config import (
    AlignOptions,
    DecodingOptions,
    GmmOptions,
    GmmStageOptions,
    LangOptions,
    LmOptions,
)

NAN, INF = math.nan, math.inf
REFUSED = [
    (LangOptions, "silence_probability", 0.0, "more than 0 and less than 1"),
    (LangOptions, "silence_probability", 1.0, "more than 0 and less than 1"),
    (LangOptions, "silence_probability", NAN, "more than 0 and less than 1"),
    (LmOptions, "small_order", 1, "at least 2"),
    (LmOptions, "large_order", 0, "at least 2"),
    (AlignOptions, "beam", 0.0, "more than 0"),
    (AlignOptions, "beam", NAN, "more than 0"),
    (AlignOptions, "beam", INF, "more than 0"),
    (AlignOptions, "acoustic_scale", -0.1, "more than 0"),
    (AlignOptions, "boost_silence", 0.0, "more than 0"),
    (AlignOptions, "transition_scale", -1.0, "at least 0"),
    (AlignOptions, "self_loop_scale", NAN, "at least 0"),
    (AlignOptions, "retry_beam", 10.0, "more than beam=10"),
    (AlignOptions, "retry_beam", NAN, "more than beam=10"),
    (AlignOptions, "retry_beam", INF, "more than beam=10"),
    (GmmStageOptions, "iterations", 0, "at least 1"),
    (GmmStageOptions, "gaussians", 0, "at least 1"),
    (GmmStageOptions, "dim", 0, "at least 1"),
    (GmmStageOptions, "utterances", -1, "at least 0"),
    (GmmStageOptions, "leaves", -1, "at least 0"),
    (GmmStageOptions, "context", -1, "at least 0"),
    (GmmStageOptions, "grow_until", -1, "at least 0"),
    (GmmStageOptions, "power", NAN, "at least 0"),
    (GmmStageOptions, "kind", "mllt", "one of deltas, lda, sat"),
    (GmmOptions, "decode", ["mono", "tri9"], "some of mono, tri1, tri2b, tri3b"),
    (GmmOptions, "cepstra", 1, "at least 2"),
    (DecodingOptions, "beams", [], "some numbers above 0"),
    (DecodingOptions, "beams", [9.0, 0.0], "some numbers above 0"),
    (DecodingOptions, "lm_weights", [NAN], "some numbers above 0"),
    (DecodingOptions, "lm_weights", [INF], "some numbers above 0"),
    (DecodingOptions, "word_penalties", [], "some numbers"),
    (DecodingOptions, "word_penalties", [0.0, NAN], "some numbers"),
    (DecodingOptions, "word_penalties", [INF], "some numbers"),
    (DecodingOptions, "lattice_beam", 0.0, "more than 0"),
    (DecodingOptions, "acoustic_scale", NAN, "more than 0"),
    (DecodingOptions, "gmm_acoustic_scale", -1.0, "more than 0"),
    (DecodingOptions, "nbest", -1, "at least 0"),
    (DecodingOptions, "workers", -1, "at least 0"),
]


@pytest.mark.parametrize(("options", "name", "value", "expected"), REFUSED)
def test_options_when_out_of_range_say_what_is_expected(options, name, value, expected):
    with pytest.raises(ConfigError) as caught:
        options(**{name: value})
    assert str(caught.value) == f"{name}={value}, expected {expected}; change {name}"


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (LangOptions, {"silence_probability": 1e-6}),
        (LmOptions, {"small_order": 2, "large_order": 5}),
        (AlignOptions, {"beam": 39.9, "self_loop_scale": 0.0, "transition_scale": 0.0}),
        (GmmStageOptions, {"iterations": 1, "gaussians": 1, "context": 0, "power": 0.0}),
        (GmmOptions, {"decode": [], "cepstra": 2}),
        (DecodingOptions, {"word_penalties": [-9.0], "nbest": 0, "workers": 0}),
    ],
)
def test_options_when_at_the_edge_of_their_range_are_accepted(options, given):
    made = options(**given)
    assert {name: getattr(made, name) for name in given} == given


def test_options_when_made_twice_share_no_list():
    assert DecodingOptions().beams is not DecodingOptions().beams
    assert GmmOptions().mono.realign is not GmmOptions().mono.realign


def test_stages_when_left_alone_are_those_of_the_recipe_for_100_hours():
    options = GmmOptions()
    # train_mono 2k shortest; train_deltas 2000 10000; lda_mllt 2500 15000; sat 4200 40000
    sizes = [(s.leaves, s.gaussians) for s in (options.tri1, options.tri2b, options.tri3b)]
    assert sizes == [(2000, 10000), (2500, 15000), (4200, 40000)]
    assert [options.mono.utterances, options.tri1.utterances] == [2000, 5000]
    assert [options.tri2b.kind, options.tri3b.kind] == ["lda", "sat"]


def test_module_when_imported_loads_neither_torch_nor_numpy():
    code = (
        "import sys, speechlite.hmm.config; "
        "print([name for name in ('torch', 'numpy', 'kaldifst') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"mono": {"kind": "lda"}}, r"mono\.kind=lda, expected one of deltas"),
        ({"mono": {"leaves": 9}}, r"mono\.leaves=9, expected 0 for mono"),
        ({"tri1": {"leaves": 0}}, r"tri1\.leaves=0, expected 0 for mono, more for triphones"),
        ({"tri2b": {"kind": "sat", "leaves": 9}}, r"tri2b\.kind=sat, expected one of deltas, lda"),
        (
            {"tri2b": {"leaves": 9}, "tri3b": {"kind": "sat", "leaves": 9}},
            r"tri2b\.kind=deltas, expected lda before tri3b\.kind=sat",
        ),
    ],
)
def test_gmm_options_when_stages_do_not_follow_then_they_are_refused(stages, message):
    with pytest.raises(ConfigError, match=message):
        GmmOptions(**{name: GmmStageOptions(**options) for name, options in stages.items()})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform_iterations": [2]}, r"transform_iterations=\[2\], expected none with kind"),
        ({"iterations": 5, "realign": [6]}, r"realign=\[6\], expected numbers from 1 to 5"),
        (
            {"iterations": 5, "kind": "lda", "transform_iterations": [0]},
            r"transform_iterations=\[0\], expected numbers from 1 to 5",
        ),
    ],
)
def test_stage_options_when_they_would_be_ignored_then_they_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        GmmStageOptions(**options)
