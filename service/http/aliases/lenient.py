"""Lenient reading: a request as the clients of another reranker send it.

Our own `POST /score` is strict. An alias knows every field of its original: a null is a field that
is not there, numbers and booleans may be in strings, and what is not done here is ignored and
warned of, or refused if the setting `strict_aliases` is on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Generic, TypeVar

import msgspec
from msgspec import Meta

from retort.models.reading.windows import Reading, Side, with_limits
from retort.service.http.bodies import Mistake
from retort.service.http.schemas import Positive
from retort.service.http.shapes import Fields

NonNegative = Annotated[int, Meta(ge=0)]

# Values with which a field asks for nothing.
_NOTHING = frozenset({b"false", b"0", b'""', b"[]", b"{}"})
# Of a field's name, characters that a warning repeats.
_NAME_CHARACTERS = 40


class AliasRequest(msgspec.Struct, kw_only=True):
    """A request in the shape of another reranker; `highlight` is ours, in all of them."""

    # Fields of the original that change nothing about scores: who asks, how answers are encoded.
    inert: ClassVar[frozenset[str]] = frozenset(
        {
            *("user", "request_id", "priority", "cache_salt"),
            *("encoding_format", "embed_dtype", "endianness", "mm_processor_kwargs"),
            *("padding", "add_special_tokens", "kwargs", "return_len"),
        }
    )
    # Fields of the original that would change something, and what happens instead.
    undone: ClassVar[Mapping[str, str]] = {
        "instruction": "the model takes none",
        "max_tokens_per_query": "of a long query the sentences that ask are read",
        "max_query_length": "of a long query the sentences that ask are read",
        "chat_template": "the model has none",
        "chat_template_kwargs": "the model has none",
        "return_embeddings": "the model makes none",
    }

    model: str | None = None
    highlight: bool | None = None


Request = TypeVar("Request", bound=AliasRequest)


@dataclass(frozen=True, slots=True)
class Taken(Generic[Request]):
    """A request, and by name why fields of it were ignored."""

    request: Request
    ignored: Mapping[str, str]


class Lenient(Generic[Request]):
    """Decodes bodies of one shape."""

    def __init__(self, shape: type[Request]) -> None:
        self._shape = shape
        self._decoder = msgspec.json.Decoder(shape, strict=False)
        self._known = {field.encode_name for field in msgspec.structs.fields(shape)}

    def __call__(self, body: bytes, fields: Fields) -> Taken[Request]:
        """The request in `body`, whose fields are `fields`. Raises what msgspec raises."""
        return Taken(self._decoder.decode(body), dict(self._ignored(fields)))

    def _ignored(self, fields: Fields) -> Iterator[tuple[str, str]]:
        for name in sorted(fields.keys() - self._known - self._shape.inert):
            value, why = bytes(fields[name]), self._shape.undone.get(name)
            # A field that the original has may ask for nothing; of any other only a null does.
            if value != b"null" and (why is None or value not in _NOTHING):
                yield name[:_NAME_CHARACTERS], why or "there is no such field"


class RankingRequest(AliasRequest, kw_only=True):
    """How documents are read and scores are told, under the names of several rerankers."""

    max_chunks_per_doc: Annotated[
        Positive | None, Meta(description="Windows that are scored of a long document, at most.")
    ] = None
    overlap_tokens: Annotated[
        NonNegative | None, Meta(description="Tokens that neighbouring windows share.")
    ] = None
    max_tokens_per_doc: Annotated[
        Positive | None, Meta(description="Tokens that are read of a document, at most.")
    ] = None
    max_doc_length: Annotated[Positive | None, Meta(description="As max_tokens_per_doc.")] = None
    truncate_prompt_tokens: Annotated[
        Annotated[int, Meta(ge=-1)] | None,
        Meta(description="As max_tokens_per_doc; -1: as many as windows reach."),
    ] = None
    truncation_side: Annotated[
        str | None, Meta(description="The side on which the rest is left out: left or right.")
    ] = None
    truncation: Annotated[
        bool | None, Meta(description="false: refuse a document that is too long to be read whole.")
    ] = None

    raw_scores: Annotated[
        bool | None, Meta(description="Log-odds of the scores instead of probabilities.")
    ] = None
    use_activation: Annotated[bool | None, Meta(description="false: as raw_scores.")] = None
    activation: Annotated[bool | None, Meta(description="As use_activation.")] = None

    @property
    def max_tokens(self) -> int | None:
        """Tokens that are read of a document; None: no limit."""
        asked = (self.max_tokens_per_doc, self.max_doc_length, self.truncate_prompt_tokens)
        return min((limit for limit in asked if limit is not None and limit > 0), default=None)

    @property
    def side(self) -> Side:
        """The side on which a document is cut."""
        return side_of(self.truncation_side)

    def __post_init__(self) -> None:
        check_side(self.truncation_side, "truncation_side")

    def reading(self, usual: Reading) -> Reading:
        """How documents are read: as is `usual`, but for what is asked here."""
        return with_limits(
            usual,
            max_windows=self.max_chunks_per_doc,
            overlap_tokens=self.overlap_tokens,
            max_tokens=self.max_tokens,
            side=self.side,
        )

    @property
    def raw(self) -> bool:
        """Whether log-odds are asked for."""
        return bool(self.raw_scores) or self.use_activation is False or self.activation is False


def check_side(given: str | None, field: str) -> None:
    """Raise `Mistake` unless it is left or right, in any case, or nothing."""
    if given and given.lower() not in ("left", "right"):
        raise Mistake(field, f"expected left or right, got {given.lower()[:40]!r}")


def side_of(given: str | None) -> Side:
    """A side that was checked; by default right."""
    return "left" if given and given.lower() == "left" else "right"
