"""Work spread over forked processes: order, errors, and children that die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from speechlite.core.errors import DataError, EnvironmentProblem
from speechlite.hmm.parallel import map_forked, usable_workers


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_map_forked_when_items_differ_in_work_then_results_keep_their_order(num_workers, count):
    def square(item):
        time.sleep(0.002 * (count - item))
        return item * item

    seen = []
    found = map_forked(square, range(count), num_workers=num_workers, on_result=seen.append)
    assert found == [item * item for item in range(count)]
    assert seen == list(range(1, count + 1))


def test_map_forked_when_there_are_workers_then_they_are_other_processes():
    found = map_forked(lambda item: os.getpid(), range(6), num_workers=2)
    assert len(set(found)) == 2
    assert os.getpid() not in found
    assert set(map_forked(lambda item: os.getpid(), range(3), num_workers=1)) == {os.getpid()}


def test_map_forked_when_results_are_large_then_they_arrive_whole():
    found = map_forked(lambda item: bytes([item]) * 3_000_000, range(4), num_workers=2)
    assert [(one[0], one[-1], len(one)) for one in found] == [(i, i, 3_000_000) for i in range(4)]


def test_map_forked_when_the_function_changes_what_it_sees_then_the_parent_does_not():
    state = []
    map_forked(state.append, range(4), num_workers=2)
    assert state == []


@pytest.mark.parametrize("num_workers", [1, 2])
def test_map_forked_when_an_item_fails_then_its_error_arrives(num_workers):
    def refuse(item):
        if item == 3:
            raise DataError("item 3 is bad", remedy="mend it", path="data/text", line=7)
        return item

    with pytest.raises(DataError, match="data/text:7: item 3 is bad; mend it") as caught:
        map_forked(refuse, range(6), num_workers=num_workers)
    assert (caught.value.line, caught.value.remedy) == (7, "mend it")
    assert not multiprocessing.active_children()


def test_map_forked_when_a_result_cannot_be_sent_then_the_cause_arrives():
    with pytest.raises((TypeError, AttributeError), match="pickle"):
        map_forked(lambda item: threading.Lock(), range(2), num_workers=2)


def test_map_forked_when_an_error_cannot_be_sent_then_its_message_arrives():
    class OddError(Exception):
        """An error of a local class, which cannot be pickled."""

    def fail(item):
        raise OddError("the wheel says no")

    with pytest.raises(EnvironmentProblem, match="a worker process failed: .*the wheel says no"):
        map_forked(fail, range(2), num_workers=2)


def test_map_forked_when_a_child_is_killed_then_environment_problem():
    def die(item):
        if item == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        return item

    with pytest.raises(EnvironmentProblem, match="a worker process died; .*decoding.workers=1"):
        map_forked(die, range(4), num_workers=2)
    assert not multiprocessing.active_children()


def test_map_forked_when_a_child_is_killed_amid_a_result_then_environment_problem():
    def die_while_sending(item):
        if item == 1:
            time.sleep(0.1)
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGKILL)).start()
            return b"x" * 20_000_000
        return item

    with pytest.raises(EnvironmentProblem, match="a worker process died"):
        map_forked(
            die_while_sending, range(2), num_workers=2, on_result=lambda done: time.sleep(0.4)
        )


def test_map_forked_when_the_parent_is_interrupted_then_no_child_stays():
    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_forked(lambda item: item, range(50), num_workers=2, on_result=interrupt)
    assert not multiprocessing.active_children()


def test_usable_workers_when_a_number_is_given_then_it_is_taken():
    assert usable_workers(3) == 3
    assert usable_workers(0) == len(os.sched_getaffinity(0))
