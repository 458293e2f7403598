"""A teacher as a student's recipe names it: where it is, and how it is asked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from retort.training.recipes.kinds import Kind
from retort.training.recipes.parts.common import Part


class HttpPart(Part):
    """How the server of a teacher of kind `http` is asked."""

    shape: Literal["retort", "tei", "cohere", "vllm"] | None = Field(
        None,
        description="The shape of its route: Retort's `/score`, text-embeddings-inference's "
        "`/rerank`, Cohere's and Jina's `/v1/rerank`, vLLM's `/score`; none to try them.",
    )
    model: str | None = Field(None, description="The name of its model, where requests have one.")
    key: str | None = Field(
        None, description="The environment variable that holds its API key; none for no key."
    )
    scores: Literal["probability", "raw"] | None = Field(
        None,
        description="What its scores are; of a probability the label is its logit. None: raw for "
        "tei, which is asked for them, a probability for the others.",
    )
    passages: int = Field(32, ge=1, description="At most this many passages per request.")
    concurrency: int = Field(4, ge=1, description="Requests at a time.")
    timeout: float = Field(
        600.0, gt=0, description="Seconds for a request with all its further attempts."
    )


class TeacherRef(Part):
    """A teacher that a student learns from, by name and place."""

    name: str = Field(description="Its name in the store and in reports.")
    path: str = Field(description="Its place: a folder, a model of the hub, a URL or a file.")
    kind: Kind | None = Field(
        None,
        description="cross-encoder: made by `retort teach`; hub-cross-encoder: any of Hugging "
        "Face; bi-encoder: of either; bundle: of Retort; http: any ranker's server; given: scores "
        "in a file. None: found from the place.",
    )
    output: int | str | None = Field(
        None,
        description="Of a hub-cross-encoder with several outputs, the class whose log-odds is the "
        "score, by number from 0 or by label.",
    )
    http: HttpPart = Field(HttpPart(), description="Of kind http, how its server is asked.")
    column: str | None = Field(
        None, description="Of kind given, the column of the Parquet file that has its scores."
    )
    head: Literal["linear", "cosine"] = Field(
        "linear", description="The soft head that imitates it; cosine for a bi-encoder."
    )
    scale: Literal["standardised", "raw"] = Field(
        "standardised",
        description="What a soft head learns: its logits by their own mean and deviation, or as "
        "they are.",
    )
    hidden: bool = Field(
        False, description="Keep its `[CLS]` vectors too, for stages that match them."
    )
    sources: list[str] | None = Field(
        None, description="It scores only pairs of these sources; none for all."
    )
