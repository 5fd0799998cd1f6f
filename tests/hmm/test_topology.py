from __future__ import annotations

import pytest

from speechlite.core.errors import DataError
from speechlite.hmm.topology import read_topology, topology_text

TEXT = topology_text([1, 2], [3, 4])


def transitions(text, phones):
    """Read the transitions of the entry for some phones: (state, next) -> share."""
    entry = next(e for e in text.split("<TopologyEntry>") if f"\n{phones}\n" in e)
    found = {}
    for state in entry.split("<State>")[1:]:
        words = state.split()
        for at, word in enumerate(words):
            if word == "<Transition>":
                found[(int(words[0]), int(words[at + 1]))] = float(words[at + 2])
    return found


def test_topology_when_of_speech_goes_from_left_to_right():
    assert transitions(TEXT, "3 4") == {
        (0, 0): 0.75, (0, 1): 0.25, (1, 1): 0.75, (1, 2): 0.25, (2, 2): 0.75, (2, 3): 0.25,
    }  # fmt: skip


def test_topology_when_of_silence_is_that_of_kaldi():
    found = transitions(TEXT, "1 2")
    expected = {(0, to): 0.25 for to in (0, 1, 2, 3)}
    expected |= {(inner, to): 0.25 for inner in (1, 2, 3) for to in (1, 2, 3, 4)}
    expected |= {(4, 4): 0.75, (4, 5): 0.25}
    assert found == expected


@pytest.mark.parametrize("silence_states", [3, 4, 5, 7, 8])
@pytest.mark.parametrize("speech_states", [1, 2, 3, 5])
def test_topology_when_read_by_kaldi_has_these_states(silence_states, speech_states):
    text = topology_text([1, 2], [3], silence_states=silence_states, speech_states=speech_states)
    topology = read_topology(text, phones=[1, 2, 3])
    assert sorted(topology.phones) == [1, 2, 3]
    assert topology.get_phone_to_num_pdf_classes()[1:] == [silence_states] * 2 + [speech_states]
    for phones in ("1 2", "3"):
        sums = {}
        for (state, _), share in transitions(text, phones).items():
            sums[state] = sums.get(state, 0.0) + share
        assert all(total == pytest.approx(1.0, abs=1e-5) for total in sums.values())


def test_topology_when_it_lacks_phones_names_them():
    with pytest.raises(
        DataError, match=r"lacks the phones \[5, 9\]; make the lang again, or write"
    ):
        read_topology(TEXT, phones=[1, 9, 5])


def test_topology_when_cut_anywhere_is_refused():
    words = TEXT.split(" ")
    for length in range(len(words)):
        with pytest.raises(DataError, match=r"not a topology: .*; make the lang again"):
            read_topology(" ".join(words[:length]), phones=[1])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("3 4", "0"), ("3 4", "-1"), ("3 4", "99999999999"), ("3 4", "3 3"), ("3 4", "1 3"),
        ("3 4", "x"), ("0.75", "nan"), ("0.75", "-1"), ("<PdfClass> 0", "<PdfClass> -5"),
        ("<Transition> 1", "<Transition> 77"), ("<State> 1", "<State> 7"), ("<State>", "<Stage>"),
    ],
)  # fmt: skip
def test_topology_when_malformed_is_refused(right, wrong):
    assert right in TEXT
    with pytest.raises(DataError, match=r"not a topology: [^/].*; make the lang again"):
        read_topology(TEXT.replace(right, wrong), phones=[1, 2, 3, 4])
