"""The clients that are said to work, and what is expected of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tests.clients.client import ERRORS, Case, Client, Environment

COHERE_5 = Environment("cohere-5", "python", ("cohere==5.21.1",))
COHERE_6 = Environment("cohere-6", "python", ("cohere==6.1.0",))
COHERE_7 = Environment("cohere-7", "python", ("cohere==7.3.1",))
LITELLM = Environment("litellm", "python", ("litellm==1.110.2",))
LANGCHAIN = Environment(
    "langchain",
    "python",
    (
        "langchain-classic==1.0.8",
        "langchain-cohere==0.6.0",
        "langchain-community==0.4.2",
        "langchain-nvidia-ai-endpoints==1.5.0",
        "langchain-voyageai==0.4.1",
        "infinity_client==0.0.78",
    ),
)
LLAMAINDEX = Environment(
    "llamaindex",
    "python",
    (
        "llama-index-postprocessor-cohere-rerank==0.10.0",
        "llama-index-postprocessor-jinaai-rerank==0.6.0",
        "llama-index-postprocessor-siliconflow-rerank==0.5.0",
        "llama-index-postprocessor-tei-rerank==0.6.0",
        "llama-index-postprocessor-xinference-rerank==0.5.0",
    ),
)
HAYSTACK = Environment(
    "haystack",
    "python",
    (
        "cohere-haystack==11.0.0",
        "haystack-ai==3.4.1",
        "huggingface-api-haystack==3.1.0",
        "jina-haystack==2.0.1",
        "vllm-haystack==3.0.1",
    ),
)
SMALL = Environment(
    "small",
    "python",
    ("infinity_client==0.0.78", "rerankers[api]==0.10.0", "tei-client==0.2.4"),
)
DIFY = Environment("dify", "python", ("dify_plugin==0.7.4",))
STANDARD = Environment("standard", "python")
NODE = Environment(
    "node",
    "node",
    (
        "@ai-sdk/cohere@4.0.52",
        "@ai-sdk/togetherai@3.0.54",
        "@ai-sdk/voyage@1.0.14",
        "@langchain/cohere@1.0.5",
        "@langchain/core@1.4.0",
        "ai@7.0.173",
        "cohere-ai@8.1.0",
    ),
)

COHERE_ERRORS = r"cohere\..*Error"
LITELLM_ERRORS = r"litellm\.exceptions\.\w+Error"
REPLAYED = frozenset({Case.WRONG_KEY, Case.TOO_MANY, Case.OVERLOAD, Case.UNKNOWN_MODEL})
NO_MODEL = frozenset({Case.UNKNOWN_MODEL})


def _failing(cases: str, why: str) -> dict[Case, str]:
    """The same limit in several cases: `errors`, or names of cases."""
    found = ERRORS if cases == "errors" else [Case[name] for name in cases.split()]
    return dict.fromkeys(found, why)


def _cohere(environment: Environment) -> tuple[Client, ...]:
    names = {
        "v2": "`cohere.ClientV2`",
        "v2_async": "`cohere.AsyncClientV2`",
        "v1": "`cohere.Client`",
        "v1_async": "`cohere.AsyncClient`",
        "v1_fields": "`cohere.Client` with `rank_fields`, `max_chunks_per_doc`",
    }
    package = environment.requirements[0]
    return tuple(
        Client(
            name, environment, package, "cohere_sdk", function, "base_url", raises=COHERE_ERRORS,
            note="asks again on 429, after `Retry-After`",
        )
        for function, name in names.items()
    )  # fmt: skip


def _langchain(
    name: str,
    package: str,
    function: str,
    path: str,
    raises: str,
    note: str = "",
    scores: Literal["probabilities", "log-odds"] = "probabilities",
) -> Client:
    setting = "JINA_API_URL" if function == "jina" else "base_url"
    return Client(
        name, LANGCHAIN, package, "langchain_compressors", function, setting, path, raises,
        scores=scores, note=note,
    )  # fmt: skip


VOYAGE_ERRORS = r"voyageai\.error\.\w+Error"
INFINITY_ERRORS = r"infinity_client\.errors\.UnexpectedStatus"
OWN_URL = "the URL is a constant of its module, set from outside; there is no setting"
CLIENT_WITH_HEADER = (
    "takes no client with a token: give it a `Client` with an `Authorization` header; errors are "
    "raised if that has `raise_on_unexpected_status=True`"
)
NIM = "`relevance_score` is in log-odds; documents go in requests of `max_batch_size`"

LANGCHAIN_CLIENTS = (
    _langchain("LangChain `CohereRerank`", "langchain-cohere", "cohere", "", COHERE_ERRORS),
    _langchain("the same, async", "langchain-cohere", "cohere_async", "", COHERE_ERRORS),
    _langchain(
        "LangChain `JinaRerank`", "langchain-community", "jina", "/v1/rerank", "RuntimeError",
        OWN_URL,
    ),
    _langchain(
        "LangChain `InfinityRerank`", "langchain-community", "infinity", "", INFINITY_ERRORS,
        CLIENT_WITH_HEADER,
    ),
    _langchain(
        "LangChain `VoyageAIRerank`", "langchain-voyageai", "voyage", "/voyage/v1", VOYAGE_ERRORS
    ),
    _langchain(
        "the same, async", "langchain-voyageai", "voyage_async", "/voyage/v1", VOYAGE_ERRORS
    ),
    _langchain(
        "LangChain `NVIDIARerank`", "langchain-nvidia-ai-endpoints", "nvidia", "/v1", "Exception",
        NIM, "log-odds",
    ),
    _langchain(
        "the same, async", "langchain-nvidia-ai-endpoints", "nvidia_async", "/v1", "Exception",
        NIM, "log-odds",
    ),
)  # fmt: skip


def _llamaindex(
    name: str,
    function: str,
    path: str = "",
    raises: str = "RuntimeError",
    *,
    limits: Mapping[Case, str] | None = None,
    without: frozenset[Case] = frozenset(),
    note: str = "",
) -> Client:
    package = f"llama-index-postprocessor-{'jinaai' if function == 'jina' else function}-rerank"
    return Client(
        f"LlamaIndex `{name}`", LLAMAINDEX, package, "llamaindex_rerankers", function, "base_url",
        path, raises, limits or {}, without, note=note,
    )  # fmt: skip


LLAMAINDEX_CLIENTS = (
    _llamaindex("CohereRerank", "cohere", raises=COHERE_ERRORS),
    _llamaindex("JinaRerank", "jina", "/v1"),
    _llamaindex("SiliconFlowRerank", "siliconflow", "/v1/rerank"),
    _llamaindex(
        "TextEmbeddingInference", "tei",
        limits=_failing(
            "WRONG_KEY TOO_MANY OVERLOAD",
            "does not look at the status of an answer, so an error is a bare `AssertionError`",
        ),
        without=NO_MODEL,
        note="`auth_token` is the whole header, `Bearer KEY`; sends no model",
    ),
    _llamaindex(
        "XinferenceRerank", "xinference", raises="Exception",
        limits=_failing("KEY", "has no setting for a key"),
    ),
)  # fmt: skip


def _haystack(
    name: str,
    package: str,
    function: str,
    setting: str,
    path: str = "",
    raises: str = "RuntimeError",
    without: frozenset[Case] = frozenset(),
) -> Client:
    return Client(
        name, HAYSTACK, package, "haystack_rankers", function, setting, path, raises,
        without=without, note="sends no model" if without else "",
    )  # fmt: skip


HAYSTACK_CLIENTS = (
    _haystack(
        "Haystack `CohereRanker`", "cohere-haystack", "cohere", "api_base_url",
        raises=COHERE_ERRORS,
    ),
    _haystack("Haystack `JinaRanker`", "jina-haystack", "jina", "base_url", "/v1/rerank"),
    _haystack(
        "Haystack `HuggingFaceTEIRanker`", "huggingface-api-haystack", "tei", "url",
        without=NO_MODEL,
    ),
    _haystack(
        "the same, async", "huggingface-api-haystack", "tei_async", "url", without=NO_MODEL
    ),
    _haystack("Haystack `VLLMRanker`", "vllm-haystack", "vllm", "api_base_url", "/v1"),
)  # fmt: skip


def _litellm(
    provider: str,
    path: str = "",
    *,
    function: str = "",
    without: frozenset[Case] = frozenset(),
    scores: Literal["probabilities", "log-odds"] = "probabilities",
    note: str = "",
) -> Client:
    name = f"LiteLLM `{provider}/`{', `arerank`' if function else ''}"
    return Client(
        name, LITELLM, "litellm", "litellm_providers", function or provider, "api_base", path,
        LITELLM_ERRORS, without=without, scores=scores, note=note,
    )  # fmt: skip


LITELLM_CLIENTS = (
    _litellm("cohere"),
    _litellm("cohere", function="cohere_async"),
    _litellm("jina_ai", "/v1/rerank"),
    _litellm("hosted_vllm", "/v1"),
    _litellm("infinity", "/infinity"),
    _litellm("huggingface", without=NO_MODEL, note="sends no model"),
    _litellm("together_ai", "/v1"),
    _litellm("voyage", "/voyage/v1"),
    _litellm(
        "nvidia_nim", scores="log-odds",
        note="the model is named `nvidia_nim/ranking/MODEL`; scores are in log-odds",
    ),
)  # fmt: skip


BLIND = "does not look at the status of an answer, so an error is a `KeyError` or a `TypeError`"


def _rerankers(function: str, provider: str, path: str) -> Client:
    return Client(
        f'`rerankers`, `api_provider="{provider}"`', SMALL, "rerankers", "small_clients", function,
        "url", path, limits=_failing("errors", BLIND), note="always asks for all documents",
    )  # fmt: skip


SMALL_CLIENTS = (
    _rerankers("rerankers_cohere", "cohere", "/v1/rerank"),
    _rerankers("rerankers_jina", "jina", "/v1/rerank"),
    _rerankers("rerankers_tei", "text-embeddings-inference", "/rerank"),
    _rerankers("rerankers_voyage", "voyage", "/voyage/v1/rerank"),
    Client(
        "`infinity_client`", SMALL, "infinity_client", "small_clients", "infinity", "base_url",
        raises=INFINITY_ERRORS, note="errors need `raise_on_unexpected_status=True`",
    ),
    Client(
        "the same, async", SMALL, "infinity_client", "small_clients", "infinity_async", "base_url",
        raises=INFINITY_ERRORS, note="errors need `raise_on_unexpected_status=True`",
    ),
    Client(
        "`tei_client.HttpClient`", SMALL, "tei-client", "small_clients", "tei", "url",
        limits=_failing(
            "WRONG_KEY", "reads `/info` first, and an error there is a `KeyError`"
        ) | _failing(
            "TOO_MANY OVERLOAD",
            "does not look at the status of an answer, so an error is a `ValidationError`",
        ),
        without=NO_MODEL, note="sends no model and no `top_n`",
    ),
    Client(
        "Dify, `OAICompatRerankModel`", DIFY, "dify_plugin", "dify_model", "rerank",
        "endpoint_url", raises=r"dify_plugin\.errors\.model\.\w+",
        limits=_failing("errors", "its errors have the status, and not the server's message"),
        scores="stretched", note="stretches the scores of an answer to 0 … 1",
    ),
)  # fmt: skip


def _node(
    name: str,
    package: str,
    script: str,
    function: str,
    setting: str,
    path: str = "",
    raises: str = r"\w*Error",
    note: str = "",
) -> Client:
    return Client(name, NODE, package, script, function, setting, path, raises, note=note)


NODE_CLIENTS = (
    _node("`CohereClientV2`", "cohere-ai", "cohere_ai", "v2", "environment"),
    _node("`CohereClient`", "cohere-ai", "cohere_ai", "v1", "environment"),
    _node(
        "`CohereClient` with `rankFields`, `maxChunksPerDoc`", "cohere-ai", "cohere_ai",
        "v1Fields", "environment",
    ),
    _node(
        "LangChain `CohereRerank`", "@langchain/cohere", "langchain_cohere", "rerank",
        "environment", note="the setting is that of the `CohereClient` it is given",
    ),
    _node("AI SDK `rerank`, Cohere", "@ai-sdk/cohere", "ai_sdk", "cohere", "baseURL", "/v2"),
    _node(
        "AI SDK `rerank`, Together", "@ai-sdk/togetherai", "ai_sdk", "togetherai", "baseURL", "/v1"
    ),
    _node("AI SDK `rerank`, Voyage", "@ai-sdk/voyage", "ai_sdk", "voyage", "baseURL", "/voyage/v1"),
)  # fmt: skip


def _replayed(name: str, function: str) -> Client:
    return Client(name, STANDARD, None, "replayed", function, "URL", without=REPLAYED)


REPLAYED_BODIES = (
    _replayed("Dify, plugin `openai_api_compatible`", "dify_openai_compatible"),
    _replayed("RAGFlow, Xinference", "ragflow_xinference"),
    _replayed("RAGFlow, SiliconFlow", "ragflow_siliconflow"),
    _replayed("Open WebUI, external reranker", "open_webui"),
    _replayed("vLLM, `POST /score` of `text_1` and `text_2`", "vllm_score_texts"),
    _replayed("vLLM, `POST /score` of `queries` and `documents`", "vllm_score_queries"),
    _replayed("vLLM, `POST /v1/rerank`", "vllm_rerank"),
    _replayed("llama.cpp, `POST /reranking`", "llama_cpp"),
    _replayed("llama.cpp, `POST /v1/reranking`", "llama_cpp_v1"),
    _replayed("text-embeddings-inference, `POST /rerank`", "tei_rerank"),
    _replayed("text-embeddings-inference, `POST /predict`", "tei_predict"),
)

COHERE_CLIENTS = (*_cohere(COHERE_5), *_cohere(COHERE_6), *_cohere(COHERE_7))
CLIENTS = (
    *COHERE_CLIENTS,
    *LANGCHAIN_CLIENTS,
    *LLAMAINDEX_CLIENTS,
    *HAYSTACK_CLIENTS,
    *LITELLM_CLIENTS,
    *SMALL_CLIENTS,
    *NODE_CLIENTS,
    *REPLAYED_BODIES,
)
