"""Kill a pretraining run again and again, and check that it ends with the same weights.

Usage: python tools/soak_resume.py [--kills 50] [--seed 1]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_STEPS = 300
_OPTIONS = (
    "frontend=fbank",
    "frontend.num_mels=20",
    "encoder=conformer",
    "encoder.dim=16",
    "encoder.layers=4",
    "encoder.heads=2",
    "encoder.feedforward=32",
    "encoder.random_depth=[1,4]",
    "objective=reconstruction",
    "data.batch_seconds=8",
    "data.max_seconds=1.5",
    f"trainer.max_steps={_STEPS}",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.validate_every_steps=7",
    "trainer.checkpoint_every_steps=2",
)


def main() -> int:
    """Run the soak and print its summary as one line of JSON.

    Returns:
        0 where no kill left a trace, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak_resume.") as name:
        summary = _soak(Path(name), args)
    print(json.dumps(summary), flush=True)
    return int(not (summary["identical"] and not summary["unresumable"] + summary["orphans"]))


def _soak(root: Path, args: argparse.Namespace) -> dict[str, object]:
    _speechlite(
        "data", "prepare", "--corpus", "mini", "--size", "tiny", "--nj", "1",
        "--corpus_root", root / "corpus", "--out_dir", root / "data",
    )  # fmt: skip
    options = [
        *_OPTIONS,
        f"trainer.workers={args.workers}",
        f"data.train=[{root}/data/train_clean_100]",
        f"data.valid=[{root}/data/dev_clean]",
    ]
    started = time.monotonic()
    _speechlite("pretrain", *options, "--out_dir", root / "whole")
    print(f"uninterrupted: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    draw = random.Random(args.seed)
    counts = {"kills": 0, "runs": 0, "unresumable": 0, "orphans": 0}
    identical = True
    phases: dict[str, int] = {}
    while counts["kills"] < args.kills:
        directory = root / f"killed{counts['runs']}"
        _kill_until_done(directory, options, draw, counts, args.kills, phases)
        counts["runs"] += 1
        identical &= _weights(directory) == _weights(root / "whole")
        counts["orphans"] += len(_leftovers(directory))
    return {**counts, "identical": identical, "during": phases}


def _kill_until_done(
    directory: Path,
    options: list[str],
    draw: random.Random,
    counts: dict[str, int],
    kills: int,
    phases: dict[str, int],
) -> None:
    while True:
        process = subprocess.Popen(
            [sys.executable, "-m", "speechlite", "pretrain", *options, "--out_dir", str(directory)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if counts["kills"] < kills and _kill_once(process, directory, draw, phases):
            counts["kills"] += 1
            print(f"kill {counts['kills']}: {_newest(directory)}", file=sys.stderr, flush=True)
        _, text = process.communicate()
        counts["orphans"] += _is_alive(process.pid)
        if process.returncode == 0:
            return
        if process.returncode != -signal.SIGKILL:
            counts["unresumable"] += 1
            sys.stderr.write(text.decode())
            raise SystemExit(f"a killed run could not go on: exit code {process.returncode}")


def _kill_once(
    process: subprocess.Popen[bytes], directory: Path, draw: random.Random, phases: dict[str, int]
) -> bool:
    """Kill a run's process group, often just while something is being written."""
    before = _newest(directory)
    while _newest(directory) == before:
        # a checkpoint of this start is there: training goes on
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    deadline = time.monotonic() + draw.expovariate(1 / 1.5)
    while_writing = draw.random() < 0.5
    limit = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < limit:
        writing = _leftovers(directory)
        if time.monotonic() >= deadline and (writing or not while_writing):
            os.killpg(process.pid, signal.SIGKILL)
            kind = _kind(writing[0]) if writing else "between writes"
            phases[kind] = phases.get(kind, 0) + 1
            return True
        time.sleep(0.0005 if while_writing else 0.005)
    return False


def _kind(path: Path) -> str:
    return "writing " + (path.parent.name if path.suffix != ".json" else "a file")


def _newest(directory: Path) -> str:
    names = [path.name for path in (directory / "checkpoints").glob("step-*.ckpt")]
    return max(names, default="none")


def _leftovers(directory: Path) -> list[Path]:
    # os.walk passes over what vanishes meanwhile
    return [
        Path(parent, name)
        for parent, directories, files in os.walk(directory)
        for name in (*directories, *files)
        if name.startswith(".") and (".tmp-" in name or ".old-" in name)
    ]


def _is_alive(group: int) -> bool:
    time.sleep(0.2)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    os.killpg(group, signal.SIGKILL)
    return True


def _weights(directory: Path) -> str:
    return hashlib.sha256((directory / "model" / "model.safetensors").read_bytes()).hexdigest()


def _speechlite(*words: object) -> None:
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "speechlite", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ)


if __name__ == "__main__":
    sys.exit(main())
