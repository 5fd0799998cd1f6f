"""Remember which corpus a folder of data directories was made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechlite.core.errors import DataError
from speechlite.data.atomic import replace_file

__all__ = ["forget_other_corpus", "remember_corpus"]

_NAME = ".prepared.json"


def forget_other_corpus(out_dir: Path, request: Mapping[str, str]) -> None:
    """Remove the data directories of another corpus, so that two never mix.

    Only directories that an earlier preparation recorded are removed.

    Args:
        out_dir: folder of data directories.
        request: what is about to be prepared.

    Raises:
        DataError: if the record of the earlier preparation is unreadable.
    """
    path = out_dir / _NAME
    if not path.is_file():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        same, names = content["request"] == dict(request), list(content["directories"])
    except (ValueError, KeyError, TypeError):
        raise DataError(
            "is unreadable", remedy=f"remove the folder {out_dir} and prepare it again", path=path
        ) from None
    if same:
        return
    for name in names:
        if Path(name).name == name:
            shutil.rmtree(out_dir / name, ignore_errors=True)
    path.unlink()


def remember_corpus(out_dir: Path, request: Mapping[str, str], directories: Sequence[Path]) -> None:
    """Record what was prepared.

    Args:
        out_dir: folder of data directories.
        request: what was prepared.
        directories: the data directories that were made.
    """
    names = [path.name for path in directories]
    with replace_file(out_dir / _NAME) as stream:
        stream.write(json.dumps({"request": dict(request), "directories": names}).encode())
