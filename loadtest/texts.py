"""Texts: the requests that a benchmark sends, made up to an exact token count or read from a file.

Made-up texts are words that the tokenizer keeps whole, drawn by a seeded generator, so that two
machines send the same requests: `[CLS] query [SEP] passage [SEP]`, exactly as long as asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from retort.models.encoding import EncodedPair, PairEncoder

QUERY_TOKENS = 10
SPECIAL_TOKENS = 3

_COMMON = """
able about above across action after again age air all almost along also always among amount
animal answer any area arm army around art ask away back bad bank base bear beat bed before
began behind best better between big bird black blood blue board boat body book both box boy
bring brother brown build burn business buy call came car care carry case cause cell center
century chance change chief child choose church circle city class clear close coast cold
color come common company control cook cool corn cost cotton count country course cover cross
crowd cry current cut dark day dead deal death decide deep degree depend desert design
develop die differ direct distance divide doctor dog door double down draw dream dress drink
drive dry during early earth east eat edge effect egg eight electric element end energy
engine enough enter equal even evening event ever every exact example experience eye face
fact fair fall family famous far farm fast father fear feel feet few field fight figure fill
final find fine finger finish fire first fish five floor flow flower fly follow food foot
force foreign forest form forward found four free fresh friend front fruit full game garden
gas general gentle girl give glass gold good govern grand grass great green ground group grow
guess hair half hand happen happy hard head hear heart heat heavy help high hill history hold
hole home hope horse hot hour house huge human hundred hunt hurry ice idea inch industry iron
island job join jump keep key kind king knew know lady lake land language large last late
"""
WORDS = tuple(_COMMON.split())


@dataclass(frozen=True, slots=True)
class Request:
    """One query with its passages: what one call of `POST /score` asks."""

    query: str
    passages: tuple[str, ...]


def made_up_requests(
    encoder: PairEncoder, *, requests: int, passages: int, tokens: int, seed: int = 0
) -> list[Request]:
    """Make `requests` requests of `passages` passages, each pair exactly `tokens` tokens long.

    Special tokens count. Raises `ValueError` if `tokens` does not fit the encoder's truncation
    rule, or if its tokenizer keeps too few words whole.
    """
    rule = encoder.truncation
    query_tokens = min(QUERY_TOKENS, rule.max_query_tokens, tokens - SPECIAL_TOKENS - 1)
    if query_tokens < 1 or tokens > rule.max_length:
        raise ValueError(
            f"pairs of {tokens} tokens were asked of a bundle whose pairs have 5 to "
            f"{rule.max_length}: choose a length in that range"
        )
    encoded = encoder.encode_passages(WORDS)
    kept = [word for word, text in zip(WORDS, encoded, strict=True) if len(text.ids) == 1]
    if len(kept) < len(WORDS) // 2:
        raise ValueError(
            f"the tokenizer keeps only {len(kept)} of {len(WORDS)} common English words whole: "
            "measure with pairs of your own instead (--pairs FILE)"
        )
    chance = random.Random(seed)

    def words(count: int) -> str:
        return " ".join(chance.choices(kept, k=count))

    passage_tokens = tokens - SPECIAL_TOKENS - query_tokens
    made = [
        Request(words(query_tokens), tuple(words(passage_tokens) for _ in range(passages)))
        for _ in range(requests)
    ]
    lengths = {len(pair) for request in made for pair in encode(encoder, request)}
    if lengths != {tokens}:
        raise ValueError(f"made-up pairs have {sorted(lengths)} tokens, {tokens} were asked for")
    return made


def read_requests(path: Path, *, passages: int) -> list[Request]:
    """Read `query<TAB>passage` lines; neighbours of one query become requests of `passages` each.

    Raises `ValueError` with the line at fault, or if the file holds no pair.
    """

    def rows() -> Iterator[tuple[str, str]]:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                cells = line.rstrip("\n").split("\t")
                if len(cells) < 2 or not cells[0].strip() or not cells[1].strip():
                    raise ValueError(
                        f"{path}, line {number}: expected query<TAB>passage, found {line[:60]!r}"
                    )
                yield cells[0], cells[1]

    found: list[Request] = []
    for query, group in groupby(rows(), key=lambda row: row[0]):
        texts = [passage for _, passage in group]
        for start in range(0, len(texts), passages):
            found.append(Request(query, tuple(texts[start : start + passages])))
    if not found:
        raise ValueError(f"{path}: holds no pair; expected lines of query<TAB>passage")
    return found


def encode(encoder: PairEncoder, request: Request) -> list[EncodedPair]:
    """Encode a request's pairs as the server does."""
    return encoder.encode(request.query, request.passages)


def pair_count(requests: Sequence[Request]) -> int:
    """How many pairs the requests hold together."""
    return sum(len(request.passages) for request in requests)
