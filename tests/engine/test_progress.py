from __future__ import annotations

import re

import pytest

from speechlite.engine import progress
from speechlite.engine.progress import say, track


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def lines(capfd):
    return capfd.readouterr().err.splitlines()


def test_say_prints_one_line_with_the_time(capfd):
    say("hello")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d hello\n", capfd.readouterr().err)


def test_track_without_a_terminal_prints_a_line_every_ten_seconds_and_at_the_end(clock, capfd):
    with track("work", 100) as tracker:
        for done in range(1, 101):
            clock.now += 1
            tracker.update(done)
    counts = [re.search(r" work (\d+)/100", line)[1] for line in lines(capfd)]
    assert counts == ["10", "20", "30", "40", "50", "60", "70", "80", "90", "100"]


def test_track_tells_the_time_that_is_left(clock, capfd):
    with track("work", 100) as tracker:
        for done in range(1, 21):
            clock.now += 2
            tracker.update(done, "loss 1.0")
    # 2 s a unit, 80 units to go
    assert lines(capfd)[-1].endswith("work 20/100 loss 1.0 2:40 left")


def test_track_that_goes_on_half_way_counts_what_it_has_seen(clock, capfd):
    with track("work", 100) as tracker:
        for done in range(91, 101):
            clock.now += 5
            tracker.update(done)
    assert lines(capfd)[0].endswith("work 92/100 0:40 left")


def test_track_when_quiet_prints_nothing(clock, capfd):
    with track("work", 3, quiet=True) as tracker:
        for done in range(1, 4):
            clock.now += 60
            tracker.update(done)
    assert lines(capfd) == []


def test_track_on_a_terminal_shows_a_bar_without_reading_markup(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with track("a [red]b[/red]", 2) as tracker:
        tracker.update(1, "loss 0.5")
        tracker.update(2, "loss 0.5")
    assert "a [red]b[/red] loss 0.5" in capfd.readouterr().err
