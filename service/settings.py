"""Settings of a server: from flags, then the environment, then a file, then defaults.

    retort serve --port 9000
    RETORT_PORT=9000 retort serve
    retort serve --settings retort.yaml        # or .toml; holds `port: 9000`

Flags, environment variables, their help and their defaults all come from the fields of `Settings`.
Nothing is read when this module is imported.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)

from retort.models.errors import StartError
from retort.models.reading.windows import Reading, WindowScore
from retort.models.runtime.options import (
    BackendName,
    PrecisionName,
    ProviderName,
    RuntimeOptions,
    default_cache,
    default_streams,
)

Mode = Literal["student", "teacher", "cascade"]
# The names of `retort/client/rankers/shapes.py`, which needs an extra.
RankerShape = Literal["retort", "tei", "cohere", "vllm"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def _names(value: Any) -> Any:
    """`a,b` as `("a", "b")`: how a flag, a variable or a file names several bundles."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        return value
    return tuple(name.strip() for part in parts for name in part.split(",") if name.strip())


def _networks(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name != UNIX:
            ip_network(name)
    return names


def _origins(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        scheme, _, host = name.partition("://")
        if name != "*" and (not scheme or not host or "/" in host):
            raise ValueError(f"{name} is no origin: expected https://HOST, or *")
    return names


def _url_mistakes(url: str) -> list[str]:
    """What keeps `url` from being a ranker's route; it is not repeated whole: it may hold a key."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return [f"teacher: not a URL ({error})"]
    if parts.scheme not in ("http", "https") or not host:
        return [f"teacher: a URL of {parts.scheme or 'no'} scheme: expected https:// or http://"]
    if parts.username is not None or parts.password is not None:
        return ["teacher: the URL holds a user or a password: set teacher_api_key instead"]
    if not parts.path.strip("/"):
        return [f"teacher: give the URL of a route of {host}, as in {parts.scheme}://{host}/score"]
    return []


def _trimmed(key: SecretStr) -> SecretStr:
    """A key without white space around it: files end in a line break, and no header can have it."""
    value = key.get_secret_value().strip()
    if not value:
        raise ValueError("the key is empty: unset it, or give one")
    return SecretStr(value)


Secret = Annotated[SecretStr, AfterValidator(_trimmed)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names), NoDecode]
Bundles = Annotated[Names, Field(min_length=1)]
# Whoever comes by the Unix socket, among `trusted_proxies`.
UNIX = "unix"

# As an alias, every name that no model has.
ANY_NAME = "*"

OpenPath = Literal["page", "docs", "metrics", "info"]


def _open_names(value: Any) -> Any:
    """`none` as no name at all."""
    names = _names(value)
    return () if names == ("none",) else names


OpenPaths = Annotated[tuple[OpenPath, ...], BeforeValidator(_open_names), NoDecode]

PREFIX = "RETORT_"
# Environment variables with our prefix that are not settings of the server.
OTHER_VARIABLES = frozenset({"RETORT_DATA", "RETORT_DEBUG", "RETORT_MODELS", "RETORT_SETTINGS"})
READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".toml": tomllib.loads,
}
# The groups of `retort serve --help`, each with the field that it begins with.
GROUPS = {
    "bundle": "Bundle and backend",
    "teacher": "Teacher: shadow and cascade",
    "batch_tokens": "Scheduling",
    "max_passages": "Limits of a request",
    "workers": "Processes",
    "host": "Server",
    "max_connections": "Limits of connections",
    "api_key": "Keys, draining and logs",
}


class Settings(BaseSettings):
    """Everything a server can be configured with; the names say bytes, tokens or milliseconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    bundle: Bundles = Field(
        ("retort-small",),
        description="Name or path of a bundle; several (the flag again, or names with commas) are "
        "chosen by a request's model, and the first is for requests that name none.",
    )
    alias: Names = Field(
        (),
        description="Other names of a bundle for requests, NAME=BUNDLE each (the flag again, or "
        "commas); the name * stands for every name that no bundle has.",
    )
    backend: BackendName = Field("auto", description="Runtime; auto measures what is installed.")
    provider: ProviderName = Field("auto", description="Device that the runtime uses.")
    precision: PrecisionName = Field("auto", description="Arithmetic of the forward pass.")
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="CPU threads; 0: one per core that it may use."
    )
    streams: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None,
        description="Batches that the CPU computes at once, the threads shared among them; unset: "
        "one per thread, at most 4.",
    )
    cuda_graphs: bool = Field(
        True, description="On CUDA, launch the kernels of a known shape as one graph."
    )
    cache_dir: Path = Field(
        default_factory=default_cache,
        description="Folder for the measured choice of backend and for built engines.",
    )
    trusted_key: Path | None = Field(
        None,
        description="A public key in a PEM file: only bundles signed with it are served. Needs the "
        "extra sign.",
    )

    teacher: str | None = Field(
        None,
        description="Name or path of the teacher's bundle, served with the student's; or the URL "
        "of a ranker's route, which the texts of shadowed requests are sent to.",
    )
    teacher_backend: BackendName = Field("auto", description="As backend, for the teacher.")
    teacher_provider: ProviderName = Field("auto", description="As provider, for the teacher.")
    teacher_precision: PrecisionName = Field("auto", description="As precision, for the teacher.")
    teacher_shape: RankerShape | None = Field(
        None, description="Of a teacher at a URL, the shape of its route; unset: they are tried."
    )
    teacher_model: str | None = Field(
        None, description="Of a teacher at a URL, its model's name, where requests have one."
    )
    teacher_api_key: Secret | None = Field(
        None, description="Of a teacher at a URL, the key that it is sent, as a bearer token."
    )
    teacher_scores: Literal["probability", "raw"] = Field(
        "probability",
        description="Of a teacher at a URL, what its scores are; raw: compared by order alone.",
    )
    teacher_passages: Count = Field(
        32, description="Of a teacher at a URL, the passages per request to it, at most."
    )
    teacher_concurrency: Annotated[int, Field(ge=1, le=64)] = Field(
        4,
        description="Of a teacher at a URL, the shadowed requests that a front end asks it about "
        "at a time.",
    )
    teacher_timeout_ms: Count = Field(
        10_000, description="Of a teacher at a URL, the time for its scores of a request."
    )
    mode: Mode = Field("student", description="Who scores requests that do not say.")
    cascade_share: Share = Field(
        0.25, description="Largest share of a request's passages that a cascade sends on."
    )
    shadow: Share = Field(
        0.0, description="Share of requests that the teacher scores too, later, to compare."
    )
    disagreements: Path | None = Field(
        None, description="JSONL file for shadowed requests whose best passage differs."
    )
    disagreement_texts: bool = Field(
        False, description="Write their texts; otherwise only the sha256 of each."
    )
    disagreements_max_bytes: Count = Field(
        64 * 1024 * 1024, description="Largest size of that file; past it, no more is written."
    )

    batch_tokens: Count | None = Field(
        None, description="Tokens in a batch, padding included; unset: 1,024, on a GPU 65,536."
    )
    length_step: Annotated[int, Field(ge=1, le=512)] | None = Field(
        None, description="Pairs are padded to a multiple of it, in tokens; unset: 8, on a GPU 16."
    )
    slots: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="Batches in the backend at once; unset: as streams, on a GPU 2."
    )
    queue_tokens: Count = Field(
        524_288, description="Tokens that may wait; past it, requests get 429."
    )
    passage_cache: Annotated[int, Field(ge=0)] = Field(
        10_000, description="Passages whose tokens are kept for the next request; 0: none."
    )

    max_passages: Count = Field(4_000, description="Passages in a request; past it, 413.")
    max_pairs: Count = Field(
        16_384, description="Pairs in a request, each window of a long passage one; past it, 413."
    )
    max_windows: Count = Field(
        32,
        description="Windows read of a passage that is longer than the model reads; if there are "
        "more, this many are chosen, spread over it.",
    )
    overlap_tokens: Annotated[int, Field(ge=0)] = Field(
        40, description="Tokens that neighbouring windows share, at least."
    )
    window_score: WindowScore = Field(
        "max",
        description="A long passage's score: that of its best window (max), the mean of its best "
        "(mean_top_k), or that of its first window, the only one read then (first).",
    )
    window_top_k: Count = Field(3, description="Windows of which mean_top_k takes the mean.")
    max_body_bytes: Count = Field(
        8 * 1024 * 1024, description="Bytes in a request's body; past it, 413."
    )
    timeout_ms: Count = Field(
        10_000, description="Time for a request that does not set its own timeout_ms."
    )
    max_timeout_ms: Count = Field(60_000, description="Longest timeout_ms a request may ask for.")

    strict_aliases: bool = Field(
        False,
        description="Refuse what the routes of other rerankers would ignore with a warning.",
    )

    workers: Annotated[int, Field(ge=0, le=64)] | None = Field(
        None,
        description="Front ends: processes that speak HTTP and tokenize; unset: by cores and "
        "device. 0: one process does everything, and nothing watches it.",
    )
    standby: bool = Field(
        False, description="Keep a second engine of each model loaded, to take over at once."
    )
    hang_seconds: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="An engine that is silent for this long is replaced; unset: 0.6 with a "
        "standby, 1.5 without.",
    )
    hang_multiple: Annotated[float, Field(gt=1)] = Field(
        20.0,
        description="So is one whose pass takes this many times as long as expected, and at least"
        " hang_seconds.",
    )
    recheck_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="How often the golden pairs are scored again; 0: at the start only."
    )
    start_seconds: Count = Field(
        900, description="Time for an engine to load; a TensorRT engine takes minutes to build."
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="Port to listen on.")
    uds: Path | None = Field(
        None, description="Unix socket to listen on, instead of an address and a port."
    )
    uds_mode: Annotated[str, Field(pattern="^0?[0-7]{3}$")] = Field(
        "660", description="Its permissions, as chmod takes them."
    )
    tls_cert: Path | None = Field(
        None, description="Certificate chain in PEM, to serve HTTPS; needs tls_key."
    )
    tls_key: Path | None = Field(None, description="The certificate's private key in PEM.")
    root_path: Annotated[str, Field(pattern="^(/[^/?#]+)+$")] | None = Field(
        None, description="Prefix under which a gateway shows the server: /models/a for instance."
    )
    trusted_proxies: Annotated[Names, AfterValidator(_networks)] = Field(
        (),
        description="Addresses or networks of proxies whose X-Forwarded-For and -Proto are "
        "believed; unix: whoever comes by the Unix socket.",
    )
    cors_origins: Annotated[Names, AfterValidator(_origins)] = Field(
        (), description="Origins whose pages may call the server from a browser; *: all."
    )
    max_connections: Count = Field(
        4_096,
        description="Connections of a front end, fewer where the process may not open as many "
        "files; past it, the longest idle one is closed.",
    )
    max_connections_per_address: Count = Field(
        1_024, description="The same for one address (for IPv6, one /64); past it, 503."
    )
    max_header_bytes: Count = Field(
        32_768, description="Bytes of a request's line and headers; past it, 414 or 431."
    )
    max_headers: Count = Field(100, description="Headers of a request; past it, 431.")
    header_seconds: Annotated[float, Field(gt=0)] = Field(
        10.0, description="Time for a TLS handshake, and for a request's headers; past it, 408."
    )
    body_seconds: Annotated[float, Field(gt=0)] = Field(
        15.0, description="Time for a body, plus what min_bytes_per_second gives it; past it, 408."
    )
    answer_seconds: Annotated[float, Field(gt=0)] = Field(
        15.0, description="The same for an answer to be read; past it, the connection is cut."
    )
    min_bytes_per_second: Count = Field(
        4_096, description="Every so many bytes of a body or an answer allow one second more."
    )
    max_held_bytes: Count = Field(
        256 * 1024 * 1024,
        description="Bytes of bodies that a front end holds at once; past it, 503.",
    )
    # No flag: a command line can be read by every user of the machine.
    api_key: Secret | None = Field(
        None, description="Key that clients must send, as a bearer token or in X-API-Key."
    )
    admin_api_key: Secret | None = Field(
        None, description="Key for /admin, which is closed without one; it opens the rest too."
    )
    keys_file: Path | None = Field(
        None,
        description="YAML or TOML file of further keys, with names and budgets; read again when it "
        "changes.",
    )
    open_paths: OpenPaths = Field(
        ("page", "docs", "metrics"),
        description="What needs no key where there is one: page, docs, metrics, info (names with "
        "commas); none closes them all. Health is always open.",
    )
    drain_delay_seconds: Annotated[int, Field(ge=0)] = Field(
        0,
        description="After SIGTERM, time in which requests are still accepted and /readyz already"
        " says no; at least 0.3 s.",
    )
    drain_seconds: Annotated[int, Field(ge=0)] = Field(
        30, description="After that, time to finish what was accepted."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest severity that is logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="How log lines look.")
    access_log: bool = Field(
        False, description="Log each request: who, what, status, time and sizes; never a text."
    )
    otlp_endpoint: str | None = Field(
        None,
        description="URL of an OpenTelemetry collector (OTLP over HTTP) that gets traces.",
    )

    @model_validator(mode="after")
    def _together(self) -> Self:
        mistakes = []
        mistakes += self._teacher_mistakes()
        if self.teacher is None:
            if self.mode != "student":
                mistakes.append(f"mode is {self.mode}, which needs a teacher: set teacher")
            if self.shadow:
                mistakes.append(f"shadow is {self.shadow}, which needs a teacher: set teacher")
        if self.disagreements is not None and not self.shadow:
            mistakes.append(
                f"disagreements is {self.disagreements}, and shadow is 0, so nothing would be "
                "compared: set shadow"
            )
        if self.disagreement_texts and self.disagreements is None:
            mistakes.append("disagreement_texts is set without a file: set disagreements")
        mistakes += [
            f"alias is {alias}: expected NAME=BUNDLE" for alias in self.alias if "=" not in alias
        ]
        if (self.tls_cert is None) != (self.tls_key is None):
            mistakes.append("tls_cert and tls_key need each other: set both, or neither")
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    def _teacher_mistakes(self) -> list[str]:
        """What does not go together of a teacher, at a URL or not."""
        ours = ("teacher_backend", "teacher_provider", "teacher_precision")
        theirs = (
            *("teacher_shape", "teacher_model", "teacher_api_key", "teacher_scores"),
            *("teacher_passages", "teacher_concurrency", "teacher_timeout_ms"),
        )
        fields = type(self).model_fields
        url = self.teacher_url
        idle = [
            name
            for name in (theirs if url is None else ours)
            if getattr(self, name) != fields[name].default
        ]
        if url is None:
            return [f"{name} is set, and teacher is no URL: unset it" for name in idle]
        mistakes = [f"{name} is set, and teacher is a URL: unset it" for name in idle]
        mistakes += _url_mistakes(url)
        if self.mode != "student":
            mistakes.append(
                f"mode is {self.mode}, and teacher is a URL: no client is to wait for another "
                "server, so set mode to student, or name a bundle as teacher"
            )
        if not self.shadow:
            mistakes.append("teacher is a URL and shadow is 0, so it is never asked: set shadow")
        return mistakes

    @property
    def teacher_url(self) -> str | None:
        """The setting `teacher` where it is a URL, else None."""
        return self.teacher if self.teacher is not None and "://" in self.teacher else None

    @property
    def aliases(self) -> dict[str, str]:
        """Names of bundles by the other names that requests may give."""
        pairs = (alias.rpartition("=") for alias in self.alias)
        return {name.strip(): own.strip() for name, _, own in pairs}

    @property
    def reading(self) -> Reading:
        """How long passages are read."""
        return Reading(self.max_windows, self.overlap_tokens, self.window_score, self.window_top_k)

    @property
    def hang_after(self) -> float:
        """`hang_seconds`, or what it is if unset."""
        if self.hang_seconds is not None:
            return self.hang_seconds
        return 0.6 if self.standby else 1.5

    def to_json(self) -> dict[str, Any]:
        """Every value, secrets too: for another process of this server, never for a log."""
        secrets = {name: v.get_secret_value() for name, v in self if isinstance(v, SecretStr)}
        return self.model_dump(mode="json") | secrets

    @property
    def runtime(self) -> RuntimeOptions:
        """The options of the student's backend."""
        return self._runtime(self.backend, self.provider, self.precision)

    @property
    def teacher_runtime(self) -> RuntimeOptions:
        """The options of the teacher's backend."""
        return self._runtime(self.teacher_backend, self.teacher_provider, self.teacher_precision)

    def _runtime(
        self, backend: BackendName, provider: ProviderName, precision: PrecisionName
    ) -> RuntimeOptions:
        streams = self.streams or default_streams(self.threads)
        return RuntimeOptions(backend, provider, precision, self.threads, streams, self.cuda_graphs)


def drain_delay(settings: Settings) -> float:
    """Seconds from SIGTERM until no connection is accepted any more.

    From then on each answer closes its connection, so a moment is enough for busy ones to end.
    """
    return max(settings.drain_delay_seconds, 0.3)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def load_settings(file: Path | None = None, **flags: Any) -> Settings:
    """Put settings together; a flag that is None or empty is a flag not given.

    Raises `StartError` with every mistake: unknown names, wrong values, an unreadable file.
    """
    source = file or (Path(name) if (name := os.environ.get("RETORT_SETTINGS")) else None)
    _check_environment()
    values = {} if source is None else _read(source)
    values |= EnvSettingsSource(Settings)()
    values |= {name: value for name, value in flags.items() if value not in (None, (), [])}
    try:
        return Settings(**values)
    except ValidationError as error:
        raise StartError(f"settings: {'; '.join(map(sentence, error.errors()))}") from None


def sentence(mistake: ErrorDetails) -> str:
    """A mistake that pydantic found, and where."""
    message = mistake["msg"].removeprefix("Value error, ")
    return ": ".join([*map(str, mistake["loc"]), message])


def _read(file: Path) -> dict[str, Any]:
    values = read_file(file, "settings file")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise StartError(f"settings file {file}: expected lines of `name: value`")
    return values


def read_file(file: Path, what: str) -> Any:
    """What a YAML or TOML file holds; `what` it is goes into errors. Raises `StartError`."""
    if not file.is_file():
        raise StartError(f"{what} {file}: no such file")
    if file.suffix not in READERS:
        raise StartError(f"{what} {file}: expected one that ends in {', '.join(READERS)}")
    try:
        return READERS[file.suffix](file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StartError(f"{what} {file}: {' '.join(str(error).split())}") from None


def _check_environment() -> None:
    known = {variable(name) for name in Settings.model_fields} | OTHER_VARIABLES
    unknown = sorted(n for n in os.environ if n.startswith(PREFIX) and n not in known)
    if unknown:
        raise StartError(
            f"environment: unknown {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
