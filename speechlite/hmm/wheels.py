"""Kaldi's own code as wheels: kaldifst, kaldi-hmm-gmm and kaldi-decoder, imported the one safe way.

The three share C++ types, so only certain versions work together, and they must be imported in
this order: in another order, or with kaldifst 1.8, the import never returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from speechlite.core.errors import EnvironmentProblem

__all__ = ["Wheels", "check_versions", "load_wheels"]

_WANTED = {"kaldifst": "1.7.", "kaldi-hmm-gmm": "1.1.", "kaldi-decoder": "0.2."}
_REMEDY = "run tools/setup.sh, or pip install 'speechlite[hmm]'"


@dataclass(frozen=True)
class Wheels:
    """Hold the imported modules.

    Args:
        kaldifst: finite-state transducers.
        khg: HMM topologies, transition models, GMMs, training graphs and alignment.
        khg_core: the extension module below ``khg``, with what that does not export.
        kd: decoders.
    """

    kaldifst: ModuleType
    khg: ModuleType
    khg_core: ModuleType
    kd: ModuleType


def check_versions() -> None:
    """Refuse missing packages and versions that do not work together, without importing them.

    Raises:
        EnvironmentProblem: if one is missing or of another version.
    """
    for package, prefix in _WANTED.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            raise EnvironmentProblem(
                f"{package} is not installed; DNN-HMM needs it", remedy=_REMEDY
            ) from None
        if not found.startswith(prefix):
            raise EnvironmentProblem(
                f"{package} is {found}, expected {prefix}*: other versions hang or crash",
                remedy=_REMEDY,
            )


@cache
def load_wheels() -> Wheels:
    """Import the wheels.

    Returns:
        The modules.

    Raises:
        EnvironmentProblem: if one is missing, of another version or damaged.
    """
    check_versions()
    try:
        import kaldifst  # isort: skip
        import kaldi_hmm_gmm  # isort: skip
        import _kaldi_hmm_gmm  # isort: skip
        import kaldi_decoder  # isort: skip
    except ImportError as error:
        raise EnvironmentProblem(
            f"the wheels of DNN-HMM cannot be imported ({error})", remedy=_REMEDY
        ) from None
    return Wheels(kaldifst, kaldi_hmm_gmm, _kaldi_hmm_gmm, kaldi_decoder)
