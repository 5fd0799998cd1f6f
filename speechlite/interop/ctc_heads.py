"""The CTC heads of transformers: a linear layer, and the symbols of vocab.json.

Shapes: C classes, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechlite.interop.imported import ImportedHead
from speechlite.interop.weights import read_json

__all__ = ["read_ctc_head"]

_BLANK = "<blank>"


def read_ctc_head(
    folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[ImportedHead | None, str]:
    """Read the head that a model was fine-tuned with.

    Args:
        folder: may hold vocab.json, added_tokens.json and tokenizer_config.json.
        tensors: what the folder holds, by the names of transformers.
        config: its config.json.

    Returns:
        The head, and an empty text; or None, and why a linear layer that is there cannot be one.

    Raises:
        CheckpointError: if a file is damaged.
    """
    weight_CD, bias_C = tensors.get("lm_head.weight"), tensors.get("lm_head.bias")
    if weight_CD is None or not (folder / "vocab.json").is_file():
        return None, ""
    if weight_CD.dim() != 2 or bias_C is None or bias_C.shape != weight_CD.shape[:1]:
        return None, "its weights and biases do not fit"
    symbols, why = _symbols(folder, len(weight_CD))
    if symbols is None:
        return None, why
    blank = config.get("pad_token_id", 0)
    if type(blank) is not int or not 0 <= blank < len(symbols):
        return None, f"pad_token_id is {blank!r}"
    dropout = config.get("final_dropout") or 0.0
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        return None, f"final_dropout is {dropout!r}"
    # ours have the blank first
    order = [blank, *(index for index in range(len(symbols)) if index != blank)]
    rows = torch.tensor(order)
    named = (_BLANK, *(symbols[index] for index in order[1:]))
    return ImportedHead(weight_CD[rows], bias_C[rows], named, float(dropout)), ""


def _symbols(folder: Path, num_classes: int) -> tuple[list[str] | None, str]:
    ids = dict(read_json(folder / "vocab.json"))
    if (folder / "added_tokens.json").is_file():
        ids |= read_json(folder / "added_tokens.json")
    mark: Any = "|"
    if (folder / "tokenizer_config.json").is_file():
        mark = read_json(folder / "tokenizer_config.json").get("word_delimiter_token", mark)
    if isinstance(mark, Mapping):
        mark = mark.get("content")
    # symbols beyond the layer are never predicted
    known = {
        index: symbol
        for symbol, index in ids.items()
        if type(index) is int and 0 <= index < num_classes
    }
    if len(known) != num_classes:
        return None, f"vocab.json names {len(known)} of its {num_classes} classes"
    symbols = [" " if known[index] == mark else known[index] for index in range(num_classes)]
    if symbols.count(" ") != 1 or len(set(symbols)) != num_classes or _BLANK in symbols:
        return None, f"vocab.json has no single mark of words, {mark!r}, beside other symbols"
    return symbols, ""
