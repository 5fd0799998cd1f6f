"""The CTC heads of transformers: a linear layer, and the symbols of vocab.json.

Shapes: C classes, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechlite.core.errors import CheckpointError
from speechlite.interop.imported import ImportedHead
from speechlite.interop.weights import read_json

__all__ = ["read_ctc_head"]

_BLANK = "<blank>"
_REMEDY = "repair vocab.json, or remove it to import the model without its head"


def read_ctc_head(
    folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> ImportedHead | None:
    """Read the head that a model was fine-tuned with.

    Args:
        folder: holds vocab.json, and perhaps added_tokens.json and tokenizer_config.json.
        tensors: what the folder holds, by the names of transformers.
        config: its config.json.

    Returns:
        The head; None where there is no linear layer or nothing tells its symbols.

    Raises:
        CheckpointError: if the symbols are not those of the layer.
    """
    weight_CD, bias_C = tensors.get("lm_head.weight"), tensors.get("lm_head.bias")
    path = folder / "vocab.json"
    if weight_CD is None or bias_C is None or not path.is_file():
        return None
    symbols = _symbols(folder, len(weight_CD))
    blank = config.get("pad_token_id", 0)
    if type(blank) is not int or not 0 <= blank < len(symbols):
        raise CheckpointError(
            f"pad_token_id is {blank!r}, expected one of {len(symbols)} symbols",
            remedy="set the id of the CTC blank",
            path=folder / "config.json",
        )
    # ours have the blank first
    order = [blank, *(index for index in range(len(symbols)) if index != blank)]
    rows = torch.tensor(order)
    named = (_BLANK, *(symbols[index] for index in order[1:]))
    dropout = float(config.get("final_dropout", 0.0))
    return ImportedHead(weight_CD[rows], bias_C[rows], named, dropout)


def _symbols(folder: Path, num_classes: int) -> list[str]:
    path = folder / "vocab.json"
    ids = dict(read_json(path))
    if (folder / "added_tokens.json").is_file():
        ids |= read_json(folder / "added_tokens.json")
    mark = "|"
    if (folder / "tokenizer_config.json").is_file():
        mark = read_json(folder / "tokenizer_config.json").get("word_delimiter_token", mark)
    symbol_of = {index: symbol for symbol, index in ids.items() if type(index) is int}
    if sorted(symbol_of) != list(range(num_classes)) or len(ids) != num_classes:
        raise CheckpointError(
            f"has {len(ids)} symbols, expected one for each id from 0 to {num_classes - 1}",
            remedy=_REMEDY,
            path=path,
        )
    if mark != " " and " " in ids:
        raise CheckpointError(
            f"has a space beside {mark!r}, which parts words", remedy=_REMEDY, path=path
        )
    symbols = [symbol_of[index] for index in range(num_classes)]
    return [" " if symbol == mark else symbol for symbol in symbols]
