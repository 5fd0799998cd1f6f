"""The one place that lets ESPnet in: late, and without its noise."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

from speechlite.core.errors import EnvironmentProblem

__all__ = ["espnet_imports"]


@contextlib.contextmanager
def espnet_imports() -> Iterator[None]:
    """Import from ESPnet and build with it inside this context.

    ESPnet prints on standard output while it is imported, where a command's own output goes, and
    its constructors call ``logging.info``, which gives the root logger a handler; both are undone.

    Yields:
        Nothing.

    Raises:
        EnvironmentProblem: if ESPnet, or something that it imports, is not installed.
    """
    root = logging.getLogger()
    handlers = list(root.handlers)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except ImportError as error:
        raise EnvironmentProblem(
            f"ESPnet cannot be imported: {error}",
            remedy="run: pip install --no-deps espnet==202511 typeguard",
        ) from error
    finally:
        root.handlers[:] = handlers
