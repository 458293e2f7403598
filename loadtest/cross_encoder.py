"""The cross-encoder: a BERT with one output, loaded as sentence-transformers load it.

It is what one would run without Retort: the benchmark measures one in its own process, and the
teacher's server answers with some.
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


def load_cross_encoder(model: Any, tokenizer: Path, max_length: int) -> Any:
    """A `sentence_transformers.CrossEncoder` of a `BertForSequenceClassification`, on the CPU.

    `tokenizer` is a `tokenizer.json`. Raises `ValueError` if it is not one of a BERT.
    """
    transformers: Any = import_module("transformers")
    sentence_transformers: Any = import_module("sentence_transformers")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=pair_tokenizer(tokenizer),
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        fast.save_pretrained(folder)
        return sentence_transformers.CrossEncoder(folder, device="cpu", max_length=max_length)


def classifier_of(student: Any) -> Any:
    """A `BertForSequenceClassification` that gives the mean logit of a checkpoint's linear heads.

    It has a pooler, tanh of a linear map, where a checkpoint's head is linear on `[CLS]`. The
    pooler made so small that tanh is the identity, and the classifier so much larger, are that
    head: tanh(x) differs from x by a share of x²/3, here about a hundred-thousandth. Raises
    `ValueError` for a head that is not linear.
    """
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    kinds = sorted({head.kind for head in student.heads} - {"linear"})
    if kinds:
        raise ValueError(f"the checkpoint has a {kinds[0]} head: a CrossEncoder has linear ones")
    config = transformers.BertConfig.from_dict({**student.config.to_dict(), "num_labels": 1})
    model = transformers.BertForSequenceClassification(config).eval()
    model.bert.load_state_dict(student.encoder.state_dict(), strict=False)
    gains, shifts = student.gain[:, None], student.shift
    weight = torch.cat([head.linear.weight for head in student.head_bank]) * gains
    bias = torch.cat([head.linear.bias for head in student.head_bank]) * student.gain + shifts
    with torch.no_grad():
        pooler = model.bert.pooler.dense
        pooler.weight.copy_(torch.eye(config.hidden_size) * SMALL)
        pooler.bias.zero_()
        model.classifier.weight.copy_(weight.mean(0, keepdim=True) / SMALL)
        model.classifier.bias.copy_(bias.mean(0, keepdim=True))
    return model


def pair_tokenizer(path: Path) -> Tokenizer:
    """A `tokenizer.json` that lays out texts and pairs as BERT does. Raises `ValueError`."""
    tokenizer = Tokenizer.from_file(str(path))
    # A bundle's tokenizer may lack the rule that lays out a pair, because `PairEncoder` does that.
    sep, cls = tokenizer.token_to_id("[SEP]"), tokenizer.token_to_id("[CLS]")
    if sep is None or cls is None:
        raise ValueError(f"{path} has no [SEP] or no [CLS]: BERT needs both")
    tokenizer.post_processor = BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return tokenizer
