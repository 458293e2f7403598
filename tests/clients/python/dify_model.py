"""The rerank model of Dify's plugin SDK, for servers with an OpenAI-like API."""

from __future__ import annotations

from typing import TYPE_CHECKING

# It patches sockets, which has to come before anything opens one.
from dify_plugin import OAICompatRerankModel

if TYPE_CHECKING:
    from tests.clients.python.drive import Ranked, Request


def rerank(request: Request) -> Ranked:
    """`invoke`, after the credentials were validated as Dify does when a model is added."""
    model = OAICompatRerankModel([])
    credentials = {"endpoint_url": request.url, "api_key": request.key}
    model.validate_credentials(request.model, credentials)
    answer = model.invoke(
        request.model, credentials, request.query, request.documents, top_n=request.top_n
    )
    return [(document.index, document.score) for document in answer.docs]
