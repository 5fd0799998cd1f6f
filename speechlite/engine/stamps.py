"""Stamps of finished steps: the same configuration and inputs need no second run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file

__all__ = ["Stamp", "fingerprint"]

_NAME = "stamp.json"


def fingerprint(path: Path) -> str:
    """Return a hash of a file's content, or of the small files of a directory.

    Files above 64 MiB count with size and modification time only.

    Args:
        path: a file or a directory; hidden files and stamps do not count.

    Returns:
        A hexadecimal digest.

    Raises:
        DataError: if there is nothing at ``path``.
    """
    if not path.exists():
        raise DataError("is missing", remedy="run the stage that makes it", path=path)
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    digest = hashlib.sha256()
    for file in files:
        relative = file.relative_to(path.parent if path.is_file() else path)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or not file.is_file() or file.name == _NAME:
            continue
        digest.update(str(relative).encode() + b"\0")
        status = file.stat()
        if status.st_size > 64 << 20:
            digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        else:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class Stamp:
    """Say what a finished step was made with.

    Args:
        config: the resolved configuration, as plain values.
        inputs: fingerprints by path.
    """

    config: Mapping[str, Any]
    inputs: Mapping[str, str]

    @classmethod
    def of(cls, config: Mapping[str, Any], inputs: Iterable[Path]) -> Stamp:
        """Return the stamp of a step that is about to run.

        Args:
            config: its resolved configuration, as plain values.
            inputs: files and directories that it reads.

        Returns:
            The stamp.
        """
        plain = json.loads(json.dumps(config))
        return cls(config=plain, inputs={str(path): fingerprint(path) for path in inputs})

    def reason_to_run(self, directory: Path) -> str | None:
        """Say why a step must run, or None where its output is up to date.

        Args:
            directory: where the step writes its output and its stamp.

        Returns:
            One line, or None.
        """
        path = directory / _NAME
        if not path.is_file():
            return "it has not run yet"
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            old_config, old_inputs = _flat(old["config"]), dict(old["inputs"])
            outputs = dict(old["outputs"])
        except (ValueError, KeyError, TypeError):
            return "its stamp is unreadable"
        new_config = _flat(self.config)
        changed = sorted(
            key
            for key in old_config.keys() | new_config.keys()
            if old_config.get(key) != new_config.get(key)
        )
        changed += sorted(
            key
            for key in old_inputs.keys() | self.inputs.keys()
            if old_inputs.get(key) != self.inputs.get(key)
        )
        if changed:
            return "changed: " + ", ".join(changed[:5]) + (" ..." if len(changed) > 5 else "")
        for name, digest in outputs.items():
            output = directory / name
            if not output.exists() or fingerprint(output) != digest:
                return f"its output {name} is missing or was changed"
        return None

    def write(self, directory: Path, *, outputs: Iterable[str]) -> None:
        """Record that the step has finished; the last thing that it does.

        Args:
            directory: where the step wrote.
            outputs: names of its outputs in ``directory``.
        """
        content = {
            "config": self.config,
            "inputs": dict(self.inputs),
            "outputs": {name: fingerprint(directory / name) for name in outputs},
        }
        with replace_file(directory / _NAME) as stream:
            stream.write(json.dumps(content, sort_keys=True, indent=1).encode())


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(_flat(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat
