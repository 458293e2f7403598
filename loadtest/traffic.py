"""Traffic: the requests that a load test sends, made up to an exact length or of real texts.

    fixed   common words, of an exact number of tokens: to compare with published figures
    real    real questions with a set number of passages
    mixed   real questions with few or many passages, as a search gives them
    varied  variations of real passages, none of which comes twice

Real texts come from a file of `query<TAB>passage` lines, neighbours of one query together, or from
`extract.tsv`, the public extract that ships (`extract.LICENSE` says whose it is). The extract has
one or two passages per question where a search gives many, so its requests are filled up with
passages of other questions: those that share the most words, as a search by words would find them.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from retort.models.encoding import EncodedPair, PairEncoder

EXTRACT = Path(__file__).with_name("extract.tsv")
# A search gives tens of candidates; requests of more are rare, and would rule every p99.
MOST_PASSAGES = 60
# Enough that clients do not all send the same, few enough that they are encoded in no time.
FIXED_REQUESTS = 64
# Requests of a file that take turns: enough for every length to meet every other.
MOST_REQUESTS = 2000
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
    """One query with its passages, as one call of `POST /score` has them."""

    query: str
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that are sent in turn; `description` says in one line what they are."""

    name: str
    description: str
    requests: tuple[Request, ...]

    @property
    def pairs(self) -> float:
        """Mean pairs per request."""
        return sum(len(request.passages) for request in self.requests) / len(self.requests)


def fixed(
    encoder: PairEncoder,
    *,
    passages: int = 10,
    tokens: int = 128,
    requests: int = FIXED_REQUESTS,
    seed: int = 0,
) -> Traffic:
    """Requests of `passages` pairs of exactly `tokens` tokens, special tokens counted.

    Their words are drawn by a seeded generator from those that the tokenizer keeps whole, so two
    machines send the same. Raises `ValueError` if the bundle allows no such pairs, or if its
    tokenizer splits common English words.
    """
    rule = encoder.truncation
    query_tokens = min(QUERY_TOKENS, rule.max_query_tokens, tokens - SPECIAL_TOKENS - 1)
    if query_tokens < 1 or tokens > rule.max_length:
        raise ValueError(
            f"pairs of {tokens} tokens do not fit a bundle whose pairs have 5 to "
            f"{rule.max_length}: choose a length in that range"
        )
    encoded = encoder.encode_passages(WORDS)
    whole = [word for word, text in zip(WORDS, encoded, strict=True) if len(text.ids) == 1]
    if len(whole) < len(WORDS) // 2:
        raise ValueError(
            f"the tokenizer keeps only {len(whole)} of {len(WORDS)} common English words whole: "
            "measure with pairs of your own instead (--pairs FILE)"
        )
    chance = random.Random(seed)

    def words(count: int) -> str:
        return " ".join(chance.choices(whole, k=count))

    passage_tokens = tokens - SPECIAL_TOKENS - query_tokens
    made = tuple(
        Request(words(query_tokens), tuple(words(passage_tokens) for _ in range(passages)))
        for _ in range(requests)
    )
    lengths = {len(pair) for request in made for pair in encode(encoder, request)}
    if lengths != {tokens}:
        raise ValueError(f"made-up pairs have {sorted(lengths)} tokens, not {tokens}")
    return Traffic("fixed", f"{passages} passages of {tokens} tokens per request", made)


def real(encoder: PairEncoder, pairs: Path | None, *, passages: int) -> Traffic:
    """One request per query of a file (None: the extract), of exactly `passages` passages.

    Raises `ValueError` if the file has fewer passages than that, or another format.
    """
    file = pairs or EXTRACT
    requests = fill_up(read_requests(file, passages=passages), passages)
    return Traffic("real", _describe(file.name, encoder, requests), tuple(requests))


def mixed(
    encoder: PairEncoder, pairs: Path | None, *, most: int = MOST_PASSAGES, seed: int = 0
) -> Traffic:
    """Requests of different sizes in a random order, the same for every server and machine.

    A file's requests are taken as they stand, at most `most` passages each. Those of the extract
    (`pairs` None) are filled up and cut to a number of passages drawn log-uniformly from 1 to
    `most`: each doubling is as likely as the next, so most requests are small, as people's are,
    and the large ones that rule a p99 are there too. Raises `ValueError` as `read_requests`.
    """
    chance = random.Random(seed)
    file = pairs or EXTRACT
    requests = read_requests(file, passages=most)
    chance.shuffle(requests)
    requests = requests[:MOST_REQUESTS]
    if pairs is None:
        full = fill_up(requests, most)
        requests = [Request(r.query, r.passages[: _log_uniform(chance, most)]) for r in full]
    return Traffic("mixed", _describe(file.name, encoder, requests), tuple(requests))


def varied(
    of: Sequence[Request], *, requests: int, passages: int | None = None, seed: int = 0
) -> Iterator[Request]:
    """Requests whose passages are made of those of `of`, with their words and lengths.

    None comes twice, so a cache of passages does not help. They have `passages` passages each, or
    numbers drawn as in `mixed`.
    """
    chance = random.Random(seed)
    texts = [text.split() for request in of for text in request.passages]
    for _ in range(requests):
        count = passages or _log_uniform(chance, MOST_PASSAGES)
        yield Request(
            chance.choice(of).query, tuple(_variation(chance, texts) for _ in range(count))
        )


def read_requests(path: Path, *, passages: int) -> list[Request]:
    """Read `query<TAB>passage` lines; neighbours of one query become requests of up to `passages`.

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

    requests: list[Request] = []
    for query, group in groupby(rows(), key=lambda row: row[0]):
        texts = [passage for _, passage in group]
        for start in range(0, len(texts), passages):
            requests.append(Request(query, tuple(texts[start : start + passages])))
    if not requests:
        raise ValueError(f"{path}: holds no pair; expected lines of query<TAB>passage")
    return requests


def fill_up(requests: Sequence[Request], passages: int) -> list[Request]:
    """Each request with exactly `passages` passages: its own first, then the nearest of others.

    Raises `ValueError` if all requests together have fewer.
    """
    texts = list(dict.fromkeys(text for request in requests for text in request.passages))
    if len(texts) < passages:
        raise ValueError(
            f"all requests together have {len(texts)} passages and each was to have {passages}: "
            "ask for fewer, or give a larger file"
        )
    words = {text: _words(text) for text in texts}

    def filled(request: Request) -> Request:
        query = _words(request.query)
        # `sorted` keeps the file's order among equals, so that every machine sends the same.
        near = sorted(texts, key=lambda text: -len(query & words[text]))
        return Request(request.query, tuple(dict.fromkeys((*request.passages, *near)))[:passages])

    return [filled(request) for request in requests]


def encode(encoder: PairEncoder, request: Request) -> list[EncodedPair]:
    """Encode a request's pairs as the server does."""
    return encoder.encode(request.query, request.passages)


def _describe(file: str, encoder: PairEncoder, requests: Sequence[Request]) -> str:
    counts = [len(request.passages) for request in requests]
    lengths = [len(pair) for request in requests for pair in encode(encoder, request)]
    passages = f"{counts[0]} passages each"
    if min(counts) < max(counts):
        mean = sum(counts) / len(counts)
        passages = f"{min(counts)} to {max(counts)} passages each (mean {mean:.1f})"
    return (
        f"{len(requests)} questions of {file}, {passages}, {min(lengths)} to {max(lengths)} tokens "
        f"per pair (mean {sum(lengths) / len(lengths):.0f})"
    )


def _log_uniform(chance: random.Random, most: int) -> int:
    return min(most, int(math.exp(chance.uniform(0.0, math.log(most + 1)))))


def _variation(chance: random.Random, texts: Sequence[Sequence[str]]) -> str:
    words = [*chance.choice(texts), *chance.choice(texts)]
    length = max(1, len(chance.choice(texts)) - 1)
    start = chance.randrange(max(1, len(words) - length))
    # The number makes it a text of its own, wherever it was cut.
    return " ".join([*words[start : start + length], f"{chance.randrange(10**6)}"])


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))
