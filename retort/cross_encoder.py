"""The cross-encoder: a BERT with one output, loaded as sentence-transformers load it.

It is what one would run without Retort: the benchmark measures one in its own process, and the
teachers' server answers with some.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import BertProcessing

# A power of two, so that scaling by it and back loses no bit of a float.
SMALL = 2.0**-10


def stay_offline() -> None:
    """Keep Hugging Face's libraries in this process from asking a hub for anything.

    The variable `HF_HUB_OFFLINE` is read when their library is imported, which may be past.
    """
    constants: Any = import_module("huggingface_hub.constants")
    constants.HF_HUB_OFFLINE = True


def load_cross_encoder(model: Any, tokenizer: Path, max_length: int) -> Any:
    """A `sentence_transformers.CrossEncoder` of a `BertForSequenceClassification`, on the CPU.

    `tokenizer` is a `tokenizer.json`. Raises `ValueError` if it is not one of a BERT.
    """
    sentence_transformers: Any = import_module("sentence_transformers")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        fast_tokenizer(tokenizer, max_length).save_pretrained(folder)
        return sentence_transformers.CrossEncoder(folder, device="cpu", max_length=max_length)


def fast_tokenizer(path: Path, max_length: int) -> Any:
    """A `tokenizer.json` as a tokenizer of transformers. Raises `ValueError`."""
    transformers: Any = import_module("transformers")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=pair_tokenizer(path),
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
    )  # fmt: skip


def pair_tokenizer(path: Path) -> Tokenizer:
    """A `tokenizer.json` that lays out texts and pairs as BERT does. Raises `ValueError`."""
    tokenizer = Tokenizer.from_file(str(path))
    # A bundle's tokenizer may lack the rule that lays out a pair, because `PairEncoder` does that.
    sep, cls = tokenizer.token_to_id("[SEP]"), tokenizer.token_to_id("[CLS]")
    if sep is None or cls is None:
        raise ValueError(f"{path} has no [SEP] or no [CLS]: BERT needs both")
    tokenizer.post_processor = BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return tokenizer
