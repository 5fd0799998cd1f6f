"""HMM topologies, as Kaldi's prepare_lang makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from speechlite.core.errors import DataError
from speechlite.hmm.wheels import load_wheels

__all__ = ["read_topology", "topology_text"]


def topology_text(
    silence_ids: Sequence[int],
    speech_ids: Sequence[int],
    *,
    silence_states: int = 5,
    speech_states: int = 3,
) -> str:
    """Write a topology in Kaldi's form.

    Speech phones have states from left to right. The first state of silence phones leads to all
    but the last one, the inner ones to one another and to the last.

    Args:
        silence_ids: ids of silence phones.
        speech_ids: ids of speech phones.
        silence_states: emitting states of silence phones; 3 or more.
        speech_states: emitting states of speech phones; 1 or more.

    Returns:
        The text.
    """
    speech = [_state(state, {state: 0.75, state + 1: 0.25}) for state in range(speech_states)] + [
        f"<State> {speech_states} </State>"
    ]
    inner = list(range(1, silence_states - 1))
    share = 1.0 / (silence_states - 1)
    first = {0: share, **dict.fromkeys(inner, share)}
    silence = [_state(0, first)]
    silence += [_state(s, dict.fromkeys([*inner, silence_states - 1], share)) for s in inner]
    last = silence_states - 1
    silence += [_state(last, {last: 0.75, silence_states: 0.25})]
    silence += [f"<State> {silence_states} </State>"]
    return "\n".join(
        [
            "<Topology>",
            *_entry(speech_ids, speech),
            *_entry(silence_ids, silence),
            "</Topology>",
            "",
        ]
    )


def _state(number: int, transitions: dict[int, float]) -> str:
    arcs = " ".join(f"<Transition> {to} {share:g}" for to, share in transitions.items())
    return f"<State> {number} <PdfClass> {number} {arcs} </State>"


def _entry(phones: Sequence[int], states: Sequence[str]) -> list[str]:
    names = " ".join(map(str, phones))
    return ["<TopologyEntry>", "<ForPhones>", names, "</ForPhones>", *states, "</TopologyEntry>"]


def read_topology(text: str, *, phones: Sequence[int]) -> Any:
    """Return the topology that a text describes.

    Args:
        text: Kaldi's form.
        phones: ids that it must cover.

    Returns:
        A ``kaldi_hmm_gmm.HmmTopology``.

    Raises:
        DataError: if the text is malformed, or lacks phones.
    """
    topology = load_wheels().khg.HmmTopology()
    remedy = "make the lang again, or write a <TopologyEntry> for every phone"
    try:
        topology.read(text)
        topology.check()
        covered = set(topology.phones)
    except RuntimeError as error:
        # the first line is a place in C++ code
        cause = " ".join(str(error).split("\n")[1:]) or str(error)
        raise DataError(f"not a topology: {cause}", remedy=remedy) from None
    missing = sorted(set(phones) - covered)
    if missing:
        raise DataError(f"the topology lacks the phones {missing}", remedy=remedy)
    return topology
