"""A GMM-HMM: decision tree, topology, transitions and Gaussian mixtures.

Shapes: G Gaussians, D features, P probability densities (pdfs).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file
from speechlite.hmm.features import Transforms
from speechlite.hmm.topology import read_topology
from speechlite.hmm.tree_bytes import open_tree
from speechlite.hmm.wheels import load_wheels

__all__ = [
    "AcousticModel",
    "Gaussians",
    "HmmTables",
    "gaussians_of",
    "mixtures_of",
    "read_model",
    "write_model",
]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

_REMEDY = "train the model again: speechlite hmm gmm"
_DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, RuntimeError)
"""What reading damaged files raises, Kaldi's wheels included."""


@dataclass(frozen=True)
class HmmTables:
    """Hold what the transition ids of a model mean; index 0 stands for no transition.

    Args:
        pdf_T: the density that a transition leaves.
        phone_T: its phone.
        state_T: its transition state.
        pdf_class_T: the state of the phone.
        is_loop_T: whether it stays in its state.
        is_final_T: whether it leaves the phone.
    """

    pdf_T: Ints
    phone_T: Ints
    state_T: Ints
    pdf_class_T: Ints
    is_loop_T: npt.NDArray[np.bool_]
    is_final_T: npt.NDArray[np.bool_]


@dataclass
class AcousticModel:
    """Join tree, topology, transitions and mixtures.

    Args:
        tree_bytes: the decision tree in Kaldi's binary form.
        topology_text: the topology in Kaldi's form.
        mixtures: a ``kaldi_hmm_gmm.AmDiagGmm``; changed in place by training.
        transitions_T: count of each transition id, from which transition probabilities follow;
            None keeps those of the topology.
        transforms: how cepstra become this model's features.
    """

    tree_bytes: bytes
    topology_text: str
    mixtures: Any
    transitions_T: Doubles | None
    transforms: Transforms

    @cached_property
    def tree(self) -> Any:
        """The ``kaldi_hmm_gmm.ContextDependency``."""
        return open_tree(self.tree_bytes)

    @cached_property
    def topology(self) -> Any:
        """The ``kaldi_hmm_gmm.HmmTopology``."""
        return read_topology(self.topology_text, phones=[])

    @cached_property
    def transition_model(self) -> Any:
        """The ``kaldi_hmm_gmm.TransitionModel``."""
        khg = load_wheels().khg
        model = khg.TransitionModel(ctx_dep=self.tree, hmm_topo=self.topology)
        if self.transitions_T is not None:
            model.mle_update(self.transitions_T, khg.MleTransitionUpdateConfig())
        return model

    @property
    def num_pdfs(self) -> int:
        """Number of densities."""
        return int(self.tree.num_pdfs)

    @cached_property
    def tables(self) -> HmmTables:
        """The meaning of transition ids."""
        model = self.transition_model
        ids = range(1, model.num_transition_ids + 1)
        states = [int(state) for state in model.id2state[1:]]
        rows = [model.tuples[state - 1].__getstate__() for state in states]
        classes: dict[tuple[int, int], int] = {}
        for phone, hmm_state, *_ in rows:
            if (phone, hmm_state) not in classes:
                entry = self.topology.topology_for_phone(phone)
                classes[phone, hmm_state] = entry[hmm_state].forward_pdf_class
        loops = [model.is_self_loop(i) for i in ids]
        return HmmTables(
            pdf_T=_with_zero(
                [row[3 if loop else 2] for row, loop in zip(rows, loops, strict=True)]
            ),
            phone_T=_with_zero([row[0] for row in rows]),
            state_T=_with_zero(states),
            pdf_class_T=_with_zero([classes[row[0], row[1]] for row in rows]),
            is_loop_T=np.array([False, *loops]),
            is_final_T=np.array([False, *(model.is_final(i) for i in ids)]),
        )

    def with_transitions(self, counts_T: Doubles) -> AcousticModel:
        """Return the model with other transition probabilities and the same mixtures.

        Args:
            counts_T: count of each transition id; index 0 is not used.

        Returns:
            The model.
        """
        return AcousticModel(
            self.tree_bytes, self.topology_text, self.mixtures, counts_T, self.transforms
        )


def _with_zero(values: list[int]) -> Ints:
    return np.array([0, *values], np.int32)


@dataclass(frozen=True)
class Gaussians:
    """Hold all Gaussians of a model, those of one density together.

    Args:
        pdf_G: density of each, ascending.
        weights_G: mixture weights.
        means_GD: means.
        variances_GD: variances.
    """

    pdf_G: Ints
    weights_G: Floats
    means_GD: Floats
    variances_GD: Floats


def gaussians_of(mixtures: Any) -> Gaussians:
    """Return the Gaussians of Kaldi's mixtures.

    Args:
        mixtures: a ``kaldi_hmm_gmm.AmDiagGmm``.

    Returns:
        The Gaussians.
    """
    pdfs = [mixtures.get_pdf(pdf) for pdf in range(mixtures.num_pdfs)]
    return Gaussians(
        pdf_G=np.repeat(np.arange(len(pdfs), dtype=np.int32), [pdf.num_gauss for pdf in pdfs]),
        weights_G=np.concatenate([np.array(pdf.weights, np.float32) for pdf in pdfs]),
        means_GD=np.concatenate([np.array(pdf.means, np.float32) for pdf in pdfs]),
        variances_GD=np.concatenate([np.array(pdf.vars, np.float32) for pdf in pdfs]),
    )


def mixtures_of(gaussians: Gaussians) -> Any:
    """Return Kaldi's mixtures of Gaussians.

    Args:
        gaussians: the Gaussians.

    Returns:
        A ``kaldi_hmm_gmm.AmDiagGmm``.
    """
    khg = load_wheels().khg
    mixtures = khg.AmDiagGmm()
    first = np.searchsorted(gaussians.pdf_G, np.arange(gaussians.pdf_G.max() + 2))
    for begin, end in zip(first[:-1].tolist(), first[1:].tolist(), strict=True):
        mixture = khg.DiagGmm(nmix=end - begin, dim=gaussians.means_GD.shape[1])
        mixture.set_weights(gaussians.weights_G[begin:end])
        mixture.set_invvars_and_means(
            1.0 / gaussians.variances_GD[begin:end], gaussians.means_GD[begin:end]
        )
        mixture.compute_gconsts()
        mixtures.add_pdf(mixture)
    return mixtures


def write_model(directory: Path, model: AcousticModel) -> None:
    """Write a model: ``tree`` and ``topo`` as Kaldi does, the numbers as ``model.npz``.

    Args:
        directory: an existing directory to write into.
        model: the model.
    """
    gaussians = gaussians_of(model.mixtures)
    arrays: dict[str, Any] = {
        name: value for name, value in vars(gaussians).items() if value is not None
    }
    if model.transitions_T is not None:
        arrays["transitions_T"] = model.transitions_T
    if model.transforms.lda_DC is not None:
        arrays["lda_DC"] = model.transforms.lda_DC
    facts = {"kind": model.transforms.kind, "context": model.transforms.context}
    with replace_file(directory / "tree") as stream:
        stream.write(b"\0B" + model.tree_bytes)
    with replace_file(directory / "topo") as stream:
        stream.write(model.topology_text.encode())
    with replace_file(directory / "model.npz") as stream:
        np.savez(stream, **arrays)
    with replace_file(directory / "features.json") as stream:
        stream.write(json.dumps(facts).encode())


def read_model(directory: Path) -> AcousticModel:
    """Read a model.

    Args:
        directory: what ``write_model`` wrote.

    Returns:
        The model.

    Raises:
        DataError: if a file is missing or damaged.
    """
    try:
        with (directory / "model.npz").open("rb") as stream, np.load(stream) as stored:
            arrays = dict(stored)
        facts = json.loads((directory / "features.json").read_text(encoding="utf-8"))
        topology_text = (directory / "topo").read_text(encoding="utf-8")
        content = (directory / "tree").read_bytes().removeprefix(b"\0B")
        transitions = arrays.pop("transitions_T", None)
        transforms = _transforms(facts, arrays.pop("lda_DC", None))
        model = AcousticModel(
            content, topology_text, mixtures_of(Gaussians(**arrays)), None, transforms
        )
    except _DAMAGE as error:
        # Kaldi's messages begin with a place in its own sources
        cause = str(error).split("[E]")[-1]
        raise DataError(f"no usable model ({cause})", remedy=_REMEDY, path=directory) from None
    open_tree(content, path=directory / "tree")
    _check_sizes(directory, model, transitions)
    return replace(model, transitions_T=transitions)


def _transforms(facts: dict[str, Any], lda_DC: Floats | None) -> Transforms:
    kind, context = facts["kind"], facts["context"]
    if kind not in ("deltas", "lda") or not isinstance(context, int) or context < 0:
        raise ValueError(f"features of kind {kind!r} with context {context!r}")
    return Transforms(kind, context, lda_DC)


def _check_sizes(directory: Path, model: AcousticModel, transitions_T: Doubles | None) -> None:
    """Refuse files that do not belong together: Kaldi would read beyond what it has."""
    try:
        num_transitions = int(model.transition_model.num_transition_ids)
    except (DataError, RuntimeError) as error:
        cause = str(error).split("[E]")[-1]
        raise DataError(f"no usable model ({cause})", remedy=_REMEDY, path=directory) from None
    sizes = {"densities": (model.mixtures.num_pdfs, model.num_pdfs)}
    if transitions_T is not None:
        sizes["transitions"] = (len(transitions_T) - 1, num_transitions)
    for what, (found, expected) in sizes.items():
        if found != expected:
            raise DataError(
                f"model.npz has {found} {what}, tree and topo have {expected}",
                remedy=_REMEDY,
                path=directory,
            )
