"""Download subsets of LibriSpeech; torchaudio knows the addresses and checksums."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from speechlite.core.errors import DataError, EnvironmentProblem

__all__ = ["download_librispeech"]

_HOST = "www.openslr.org"
_SUBSETS = (
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
)


def download_librispeech(root: Path, *, subsets: Sequence[str]) -> Path:
    """Download subsets of LibriSpeech that are not there yet.

    Args:
        root: folder to hold ``LibriSpeech``; made where it is missing.
        subsets: names such as "train-clean-100".

    Returns:
        The folder ``root``/LibriSpeech.

    Raises:
        DataError: there is no such subset, or the archive's checksum is wrong.
        EnvironmentProblem: the server cannot be reached, or the disk cannot be written.
    """
    for subset in subsets:
        if subset not in _SUBSETS:
            raise DataError(
                f"LibriSpeech has no subset {subset!r}",
                remedy=f"choose among {', '.join(_SUBSETS)}",
            )
    library = Path(root) / "LibriSpeech"
    for subset in subsets:
        if not (library / subset).is_dir():
            _download(library, subset)
    return library


def _download(library: Path, subset: str) -> None:
    try:
        library.mkdir(parents=True, exist_ok=True)
        # Unpacked elsewhere first: a half-unpacked subset would look like a whole one.
        with tempfile.TemporaryDirectory(prefix=".downloading-", dir=library.parent) as folder:
            _fetch(folder, subset)
            _move(Path(folder) / "LibriSpeech", library)
    except OSError as error:
        raise EnvironmentProblem(
            f"{subset} cannot be downloaded from {_HOST} ({error})",
            remedy=f"connect to the network, or unpack {subset}.tar.gz here by hand",
            path=library.parent,
        ) from error


def _fetch(folder: str, subset: str) -> None:
    from torchaudio.datasets import LIBRISPEECH

    try:
        LIBRISPEECH(folder, url=subset, download=True)
    except RuntimeError as error:
        raise DataError(
            f"the archive of {subset} from {_HOST} is damaged ({error})",
            remedy="download it again",
        ) from error


def _move(source: Path, library: Path) -> None:
    for path in sorted(source.iterdir()):
        if not (library / path.name).exists():
            shutil.move(path, library / path.name)
