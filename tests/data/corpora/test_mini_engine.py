from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from speechlite.core.errors import EnvironmentProblem
from speechlite.data.corpora.mini.engine import Engine, Prosody


def test_package_when_imported_loads_neither_engine_nor_torch():
    code = (
        "import sys; import speechlite.data.corpora.mini; "
        "print([name for name in ('torch', 'numpy', 'espeakng_loader') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_engine_when_wheel_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'speechlite\[synth\]'"):
        Engine()


def test_engine_when_library_is_damaged_names_it(monkeypatch, tmp_path):
    loader = pytest.importorskip("espeakng_loader")
    damaged = tmp_path / "libespeak-ng.so"
    damaged.write_bytes(b"not a library")
    monkeypatch.setattr(loader, "get_library_path", lambda: str(damaged))
    with pytest.raises(EnvironmentProblem, match=r"libespeak-ng.so: eSpeak NG cannot be loaded"):
        Engine()


def test_engine_when_its_data_is_missing_says_so(monkeypatch, tmp_path):
    loader = pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(loader, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="eSpeak NG does not start with its data in"):
        Engine()


def test_engine_when_it_refuses_a_voice_raises_instead_of_keeping_the_last_one():
    engine = Engine.__new__(Engine)
    engine._library = SimpleNamespace(espeak_ng_SetVoiceByFile=lambda name: 2)
    with pytest.raises(RuntimeError, match="eSpeak NG's SetVoice returned 0x2"):
        engine.speak("hello", voice="language en\n", prosody=Prosody(160, 50, 50, 0))
