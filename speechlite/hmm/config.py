"""Options of the DNN-HMM's steps; importing this module loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from speechlite.core.errors import ConfigError

__all__ = [
    "AlignOptions",
    "DecodingOptions",
    "GmmOptions",
    "GmmStageOptions",
    "LangOptions",
    "LmOptions",
]

KINDS = ("deltas", "lda", "sat")
"""Features of a GMM stage."""


def _refuse(name: str, value: object, expected: str) -> None:
    raise ConfigError(f"{name}={value}, expected {expected}", remedy=f"change {name}")


def _at_least(smallest: float, **values: float) -> None:
    for name, value in values.items():
        if not smallest <= value < float("inf"):
            _refuse(name, value, f"at least {smallest:g}")


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            _refuse(name, value, "more than 0")


@dataclass(frozen=True)
class LangOptions:
    """Options of the step ``lang``: words, phones and their topology."""

    lexicon: list[str] = field(default_factory=list)
    """Where pronunciations come from, an earlier source before a later one: a file, ``alignments``
    (words.ctm and phones.ctm of the training directories) or ``espeak`` (eSpeak NG says the words
    of the training text and of lm.text that are missing still)."""
    strip_stress: bool = False
    """Whether to cut the stress digits off phones such as AH0 of a file."""
    voice: str = "en-us"
    """The voice of ``espeak``."""
    position_dependent: bool = False
    """Whether phones know their place in the word (_B, _E, _I, _S)."""
    silence_probability: float = 0.5
    """Probability of the optional silence between words, in (0, 1)."""

    def __post_init__(self) -> None:
        if not 0 < self.silence_probability < 1:
            _refuse("silence_probability", self.silence_probability, "more than 0 and less than 1")


@dataclass(frozen=True)
class LmOptions:
    """Options of the step ``lm``: a small language model for the graph, a large one to rescore."""

    text: list[str] = field(default_factory=list)
    """Files of sentences, one a line, to estimate from; empty takes the training transcripts."""
    small: str | None = None
    """ARPA file for the graph, .gz allowed; None estimates one."""
    small_order: int = 2
    """Longest n-gram of the estimated small model; at least 2."""
    small_min_counts: list[int] = field(default_factory=list)
    """Fewest counts of n-grams that stay, from order 1 on; empty keeps all."""
    large: str | None = None
    """ARPA file for rescoring; None estimates one."""
    large_order: int = 4
    """Longest n-gram of the estimated large model; at least 2."""

    def __post_init__(self) -> None:
        _at_least(2, small_order=self.small_order, large_order=self.large_order)


@dataclass(frozen=True)
class AlignOptions:
    """Options of forced alignment."""

    beam: float = 10.0
    """Search beam."""
    retry_beam: float = 40.0
    """Beam of the second try; above ``beam``."""
    acoustic_scale: float = 0.1
    """Scale of acoustic log-likelihoods."""
    transition_scale: float = 1.0
    """Scale of transition log-probabilities."""
    self_loop_scale: float = 0.1
    """Scale of self-loop log-probabilities."""
    boost_silence: float = 1.25
    """Factor on the likelihood of silence."""

    def __post_init__(self) -> None:
        _positive(
            beam=self.beam, acoustic_scale=self.acoustic_scale, boost_silence=self.boost_silence
        )
        _at_least(0, transition_scale=self.transition_scale, self_loop_scale=self.self_loop_scale)
        if not self.beam < self.retry_beam < float("inf"):
            _refuse("retry_beam", self.retry_beam, f"more than beam={self.beam:g}")


@dataclass(frozen=True)
class GmmStageOptions:
    """Options of one stage of GMM training."""

    utterances: int = 0
    """Train on this many of the shortest utterances; 0 takes all."""
    iterations: int = 40
    """Passes of EM; at least 1."""
    gaussians: int = 1000
    """Gaussians at the end."""
    grow_until: int = 30
    """The last iteration at which Gaussians are split."""
    realign: list[int] = field(default_factory=list)
    """Iterations that begin with a new alignment."""
    leaves: int = 0
    """Most densities of the tree; 0 for monophones."""
    kind: str = "deltas"
    """Features: ``deltas``, ``lda`` (with MLLT) or ``sat`` (those of the stage before, adapted to
    each speaker by fMLLR)."""
    transform_iterations: list[int] = field(default_factory=list)
    """Iterations that estimate MLLT, or fMLLR for ``sat``."""
    context: int = 3
    """Frames spliced on each side for LDA."""
    dim: int = 40
    """Features after LDA."""
    power: float = 0.25
    """A density's share of Gaussians grows with its frames to this power."""

    def __post_init__(self) -> None:
        _at_least(1, iterations=self.iterations, gaussians=self.gaussians, dim=self.dim)
        _at_least(
            0,
            utterances=self.utterances,
            leaves=self.leaves,
            context=self.context,
            grow_until=self.grow_until,
            power=self.power,
        )
        if self.kind not in KINDS:
            _refuse("kind", self.kind, f"one of {', '.join(KINDS)}")
        if self.kind == "deltas" and self.transform_iterations:
            _refuse("transform_iterations", self.transform_iterations, "none with kind=deltas")
        for name in ("realign", "transform_iterations"):
            late = [one for one in getattr(self, name) if not 1 <= one <= self.iterations]
            if late:
                _refuse(name, getattr(self, name), f"numbers from 1 to {self.iterations}")


def _mono() -> GmmStageOptions:
    realign = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 29, 32, 35, 38]
    return GmmStageOptions(2000, 40, 1000, 30, realign)


def _tri1() -> GmmStageOptions:
    return GmmStageOptions(5000, 35, 10000, 25, [10, 20, 30], 2000)


def _tri2b() -> GmmStageOptions:
    return GmmStageOptions(10000, 35, 15000, 25, [10, 20, 30], 2500, "lda", [2, 4, 6, 12])


def _tri3b() -> GmmStageOptions:
    return GmmStageOptions(0, 35, 40000, 25, [10, 20, 30], 4200, "sat", [2, 4, 6, 12])


@dataclass(frozen=True)
class GmmOptions:
    """Options of the step ``gmm``; defaults are those of Kaldi's recipe for train-clean-100."""

    mono: GmmStageOptions = field(default_factory=_mono)
    """Monophones from a flat start."""
    tri1: GmmStageOptions = field(default_factory=_tri1)
    """Tied triphones."""
    tri2b: GmmStageOptions = field(default_factory=_tri2b)
    """Triphones on LDA and MLLT."""
    tri3b: GmmStageOptions = field(default_factory=_tri3b)
    """Triphones on speaker-adapted features."""
    align: AlignOptions = field(default_factory=AlignOptions)
    """How training data are aligned."""
    cepstra: int = 13
    """Mel-frequency cepstra of a frame."""
    decode: list[str] = field(default_factory=lambda: ["mono", "tri3b"])
    """Stages that are decoded and scored for comparison."""

    def __post_init__(self) -> None:
        names = ("mono", "tri1", "tri2b", "tri3b")
        unknown = [name for name in self.decode if name not in names]
        if unknown:
            _refuse("decode", self.decode, f"some of {', '.join(names)}")
        _at_least(2, cepstra=self.cepstra)
        # a stage starts from the features of the one before; adaptation is the last one's
        for name, kinds in zip(names, (("deltas",), *[KINDS[:2]] * 2, KINDS), strict=True):
            stage: GmmStageOptions = getattr(self, name)
            if stage.kind not in kinds:
                _refuse(f"{name}.kind", stage.kind, f"one of {', '.join(kinds)}")
            if (stage.leaves > 0) == (name == "mono"):
                _refuse(f"{name}.leaves", stage.leaves, "0 for mono, more for triphones")
        if self.tri3b.kind == "sat" and self.tri2b.kind == "deltas":
            _refuse("tri2b.kind", self.tri2b.kind, "lda before tri3b.kind=sat")


@dataclass(frozen=True)
class DecodingOptions:
    """Options of decoding and rescoring; what dev chooses is given as a list."""

    beams: list[float] = field(default_factory=lambda: [9.0, 11.0, 13.0])
    """Search beams; the narrowest of the best on dev is used on test."""
    gmm_beams: list[float] = field(default_factory=lambda: [11.0, 13.0, 15.0])
    """The same for GMMs, whose scores are sharper."""
    lattice_beam: float = 6.0
    """Beam of lattices around the best path."""
    acoustic_scale: float = 0.1
    """Scale of acoustic log-likelihoods in the search."""
    gmm_acoustic_scale: float = 0.0833
    """The same for GMMs."""
    lm_weights: list[float] = field(
        default_factory=lambda: [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.7]
    )
    """Factors on the language model's cost, the inverse of tuning the acoustic scale; dev
    chooses."""
    word_penalties: list[float] = field(default_factory=lambda: [-0.5, 0.0, 0.5, 1.0])
    """Costs of a word; dev chooses."""
    nbest: int = 10
    """Hypotheses of an utterance that are written out."""
    workers: int = 0
    """Processes that align and decode; 0 takes all cores."""

    def __post_init__(self) -> None:
        for name in ("beams", "gmm_beams", "lm_weights"):
            values = getattr(self, name)
            if not values or not all(0 < value < float("inf") for value in values):
                _refuse(name, values, "some numbers above 0")
        if not self.word_penalties or not all(map(isfinite, self.word_penalties)):
            _refuse("word_penalties", self.word_penalties, "some numbers")
        _positive(
            lattice_beam=self.lattice_beam,
            acoustic_scale=self.acoustic_scale,
            gmm_acoustic_scale=self.gmm_acoustic_scale,
        )
        _at_least(0, nbest=self.nbest, workers=self.workers)
