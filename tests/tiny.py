"""A tiny bundle: two layers, width 32, a vocabulary of a few dozen word pieces, random weights."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from transformers import BertConfig

from models.bundle import Bundle, write_bundle
from models.encoding import PairEncoder, Truncation
from models.golden import GoldenPair
from models.manifest import Architecture, HeadInfo, Manifest, Precision
from tests.tiny_texts import PASSAGES, QUERIES, golden_texts, make_tokenizer
from training.student import Head, Student, probability

HEADS = (Head("golden"), Head("soft-ce", teacher="ce"), Head("soft-bi", "cosine", teacher="bi"))


def make_student(vocabulary: int, truncation: Truncation) -> Student:
    """A student of random weights."""
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=truncation.max_length,
        initializer_range=0.3,
    )
    student = Student(config, HEADS)
    # Random heads hardly tell pairs apart; a bundle's scores should.
    student.get_buffer("gain").fill_(8.0)
    student.get_buffer("shift").fill_(-4.0)
    return student.eval()


def make_tiny_bundle(folder: Path) -> Bundle:
    """Make the bundle and write it to `folder`."""
    truncation = Truncation(max_length=64, max_query_tokens=16)
    tokenizer = make_tokenizer()
    encoder = PairEncoder(tokenizer, truncation)
    student = make_student(tokenizer.get_vocab_size(), truncation)
    work = folder.parent
    work.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(work / "tokenizer.json"))
    _export(student, encoder, work / "model.onnx")
    return write_bundle(
        folder,
        manifest=Manifest(
            name="tiny",
            version="0.0.1",
            created="2026-01-01T00:00:00+00:00",
            architecture=Architecture(
                layers=2, width=32, attention_heads=2, vocabulary=tokenizer.get_vocab_size()
            ),
            truncation=truncation,
            heads=tuple(
                HeadInfo(
                    name=head.name,
                    kind="soft" if head.teacher else "golden",
                    teacher=head.teacher,
                )
                for head in HEADS
            ),
            precision=Precision(storage="fp32"),
            methods=("random weights",),
        ),
        graph=work / "model.onnx",
        tokenizer=work / "tokenizer.json",
        golden=[_golden(student, encoder, *texts) for texts in golden_texts()],
    )


def _golden(student: Student, encoder: PairEncoder, query: str, passage: str) -> GoldenPair:
    batch = encoder.collate(encoder.encode(query, [passage]))
    with torch.inference_mode():
        logits = student(
            torch.from_numpy(batch.input_ids),
            torch.from_numpy(batch.attention_mask),
            torch.from_numpy(batch.token_type_ids),
        )
    return GoldenPair(query, passage, tuple(logits[0].tolist()), probability(logits).item())


def _export(student: Student, encoder: PairEncoder, path: Path) -> None:
    batch = encoder.collate(encoder.encode(QUERIES[0], PASSAGES))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = tuple(torch.from_numpy(getattr(batch, name)) for name in names)
    both = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            student,
            inputs,
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=dict.fromkeys(names, both),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
