"""Tiny random checkpoints of many architectures, saved as folders of the hub are.

Two layers, width 32, a vocabulary of some hundreds, and a real fast tokenizer that is trained in
memory on `tests/tiny_texts.py`: word pieces, byte-level pairs or unigrams, as the architecture has.
The weights are random, so that scores mean nothing, and wide enough that they differ.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from tests.tiny_texts import golden_texts

WIDTH = 32
LAYERS = 2
POSITIONS = 64
VOCABULARY = 400
SPREAD = 0.2  # the deviation of random weights: scores of different pairs differ clearly
NO_LIMIT = int(1e30)  # what transformers writes for a tokenizer that knows no limit

# The tensors that a tokenizer gives its model. Only some architectures know segments.
PLAIN = ("input_ids", "attention_mask")
SEGMENTS = ("input_ids", "token_type_ids", "attention_mask")


@dataclass(frozen=True, slots=True)
class Marks:
    """The special tokens of a family, by their part, in the order of their ids."""

    tokens: Mapping[str, str]
    pair: str = ""  # how a pair is laid out; "" where one text follows the other unmarked


BERT_MARKS = Marks(
    {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "[CLS] $A [SEP] $B:1 [SEP]:1",
)
ALBERT_MARKS = Marks(
    {"pad": "<pad>", "unk": "<unk>", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "[CLS] $A [SEP] $B:1 [SEP]:1",
)
DEBERTA_MARKS = Marks(
    {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"},
    "[CLS] $A [SEP] $B:1 [SEP]:1",
)
ROBERTA_MARKS = Marks(
    {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"},
    "<s> $A </s> </s> $B </s>",
)
GPT2_MARKS = Marks({"eos": "<|endoftext|>"})
QWEN_MARKS = Marks({"pad": "<|endoftext|>", "eos": "<|im_end|>"})


@dataclass(frozen=True, slots=True)
class Architecture:
    """What sets one architecture apart: its type in a configuration, and how it reads text."""

    model_type: str
    train: Callable[[Marks], Tokenizer]
    marks: Marks
    inputs: tuple[str, ...] = PLAIN
    offset: int = 0  # rows of the position table before the first token's, as RoBERTa has them
    settings: Mapping[str, Any] | None = None


def _texts() -> list[str]:
    return [text for pair in golden_texts() for text in pair]


def _special(marks: Marks) -> list[str]:
    return list(marks.tokens.values())


def _word_pieces(marks: Marks) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=marks.tokens["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY,
        special_tokens=_special(marks),
        initial_alphabet=list(string.ascii_lowercase + string.digits + string.punctuation),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


def _byte_pairs(marks: Marks) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=_special(marks),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


def _unigrams(marks: Marks) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY,
        special_tokens=_special(marks),
        unk_token=marks.tokens["unk"],
        initial_alphabet=list(string.ascii_letters + string.digits + string.punctuation),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": Architecture("bert", _word_pieces, BERT_MARKS, SEGMENTS),
    "electra": Architecture(
        "electra", _word_pieces, BERT_MARKS, SEGMENTS, settings={"embedding_size": WIDTH}
    ),
    "distilbert": Architecture(
        "distilbert",
        _word_pieces,
        BERT_MARKS,
        settings={"dim": WIDTH, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 2 * WIDTH},
    ),
    "mpnet": Architecture("mpnet", _word_pieces, ROBERTA_MARKS, offset=2),
    "roberta": Architecture("roberta", _byte_pairs, ROBERTA_MARKS, offset=2),
    "modernbert": Architecture("modernbert", _byte_pairs, BERT_MARKS),
    "gpt2": Architecture(
        "gpt2", _byte_pairs, GPT2_MARKS,
        settings={"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 2, "n_inner": 2 * WIDTH},
    ),
    "qwen3": Architecture(
        "qwen3", _byte_pairs, QWEN_MARKS,
        settings={"num_key_value_heads": 2, "head_dim": WIDTH // 2},
    ),
    "xlm-roberta": Architecture("xlm-roberta", _unigrams, ROBERTA_MARKS, offset=2),
    "camembert": Architecture("camembert", _unigrams, ROBERTA_MARKS, offset=2),
    "albert": Architecture(
        "albert", _unigrams, ALBERT_MARKS, SEGMENTS, settings={"embedding_size": WIDTH}
    ),
    "deberta-v2": Architecture(
        "deberta-v2", _unigrams, DEBERTA_MARKS, SEGMENTS,
        settings={"relative_attention": True, "pos_att_type": ["p2c", "c2p"],
                  "position_biased_input": False, "type_vocab_size": 0},
    ),
}  # fmt: skip


@cache
def _tokenizer_text(architecture: str) -> str:
    """The `tokenizer.json` of an architecture: trained once in a run, and the same in each."""
    known = ARCHITECTURES[architecture]
    marks = known.marks
    tokenizer = known.train(marks)
    if marks.pair:
        tokens = {part: marks.tokens[part] for part in ("cls", "sep")}
        ids = [(token, tokenizer.token_to_id(token)) for token in tokens.values()]
        tokenizer.post_processor = TemplateProcessing(
            single=f"{tokens['cls']} $A {tokens['sep']}", pair=marks.pair, special_tokens=ids
        )
    return tokenizer.to_str()


def make_tokenizer(architecture: str, limit: int = NO_LIMIT) -> PreTrainedTokenizerFast:
    """The tokenizer of an architecture; `limit` is its `model_max_length` in tokens.

    GPT-2's has no token to pad with, as the published one has none.
    """
    known = ARCHITECTURES[architecture]
    tokens = {f"{part}_token": token for part, token in known.marks.tokens.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_text(architecture)),
        model_max_length=limit,
        model_input_names=list(known.inputs),
        padding_side="right",
        **tokens,
    )


def make_config(architecture: str, positions: int = POSITIONS, outputs: int = 1) -> Any:
    """The configuration; its position table holds `positions` tokens of a text."""
    known = ARCHITECTURES[architecture]
    tokenizer = make_tokenizer(architecture)
    marks = {
        f"{part}_token_id": getattr(tokenizer, f"{part}_token_id") for part in ("pad", "cls", "sep")
    }
    return AutoConfig.for_model(
        known.model_type,
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "intermediate_size": 2 * WIDTH,
            "max_position_embeddings": positions + known.offset,
            "initializer_range": SPREAD,
            "bos_token_id": tokenizer.cls_token_id,
            "eos_token_id": tokenizer.eos_token_id or tokenizer.sep_token_id,
            "num_labels": outputs,
            **marks,
            **(known.settings or {}),
        },
    )


def _save(
    folder: Path,
    architecture: str,
    model: PreTrainedModel,
    dtype: torch.dtype,
    limit: int | None,
) -> Path:
    """Without a `limit` no tokenizer is saved."""
    model.to(dtype).save_pretrained(folder)  # type: ignore[arg-type]  # torch's `to` is overloaded
    if limit is not None:
        make_tokenizer(architecture, limit).save_pretrained(folder)
    return folder


def save_cross_encoder(
    folder: Path,
    architecture: str,
    outputs: int = 1,
    *,
    dtype: torch.dtype = torch.float32,
    positions: int = POSITIONS,
    limit: int | None = None,
    tokenizer: bool = True,
    seed: int = 4,
) -> Path:
    """A sequence classifier; its tokenizer's limit is the number of positions unless one is given.

    `limit=NO_LIMIT` is a tokenizer that knows none; without `tokenizer` there is none at all.
    """
    torch.manual_seed(seed)
    config = make_config(architecture, positions, outputs)
    model = AutoModelForSequenceClassification.from_config(config)
    longest = positions if limit is None else limit
    return _save(folder, architecture, model, dtype, longest if tokenizer else None)


def save_encoder(
    folder: Path,
    architecture: str,
    *,
    dtype: torch.dtype = torch.float32,
    positions: int = POSITIONS,
    seed: int = 4,
) -> Path:
    """An encoder, or a decoder's trunk, without any head."""
    torch.manual_seed(seed)
    model = AutoModel.from_config(make_config(architecture, positions))
    return _save(folder, architecture, model, dtype, positions)


def save_causal_lm(folder: Path, architecture: Literal["gpt2", "qwen3"] = "qwen3") -> Path:
    """A language model, of the kind that some rankers are published as."""
    torch.manual_seed(4)
    model = AutoModelForCausalLM.from_config(make_config(architecture))
    return _save(folder, architecture, model, torch.float32, POSITIONS)


def save_sentence_cross_encoder(
    folder: Path, architecture: str, outputs: int = 1, *, max_length: int = POSITIONS
) -> Path:
    """A `CrossEncoder` of sentence-transformers, saved by it."""
    plain = save_cross_encoder(folder.with_name(folder.name + "-plain"), architecture, outputs)
    CrossEncoder(str(plain), max_length=max_length, device="cpu").save_pretrained(str(folder))
    return folder


def save_sentence_encoder(
    folder: Path,
    architecture: str,
    *,
    pooling: Literal["cls", "mean", "max", "lasttoken"] = "mean",
    normalize: bool = False,
    prompts: Mapping[str, str] | None = None,
    default_prompt: str | None = None,
    similarity: Literal["cosine", "dot", "euclidean", "manhattan"] = "cosine",
    max_length: int = POSITIONS,
) -> Path:
    """A `SentenceTransformer`, saved by it."""
    plain = save_encoder(folder.with_name(folder.name + "-plain"), architecture)
    transformer = Transformer(str(plain), max_seq_length=max_length)
    modules: list[torch.nn.Module] = [transformer, Pooling(WIDTH, pooling_mode=pooling)]
    if normalize:
        modules.append(Normalize())
    SentenceTransformer(
        modules=modules,
        prompts=dict(prompts or {}),
        default_prompt_name=default_prompt,
        similarity_fn_name=similarity,
        device="cpu",
    ).save_pretrained(str(folder))
    return folder
