"""Settings of a server: from flags, then the environment, then a file, then defaults.

    retort serve --port 9000
    RETORT_PORT=9000 retort serve
    retort serve --settings retort.yaml        # or .toml; holds `port: 9000`

Nothing is read when this module is imported.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
    YamlConfigSettingsSource,
)

from retort.models.errors import StartError
from retort.models.runtime.choose import (
    BackendName,
    PrecisionName,
    ProviderName,
    Wish,
    usual_streams,
)

Mode = Literal["student", "teacher", "cascade"]
Share = Annotated[float, Field(ge=0, le=1)]

PREFIX = "RETORT_"
# Environment variables with our prefix that are not settings of the server.
OTHER_VARIABLES = frozenset({"RETORT_DATA", "RETORT_MODELS", "RETORT_SETTINGS"})


def default_cache() -> Path:
    """Where choices and built engines are kept: `$XDG_CACHE_HOME/retort` or `~/.cache/retort`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retort"


class Settings(BaseSettings):
    """What a server can be told. Sizes in bytes, tokens or milliseconds, as the names say."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    bundle: str = Field("retort-small", description="Name or path of the bundle to serve.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="Port to listen on.")
    api_key: SecretStr | None = Field(
        None, description="Key that clients must send, as a bearer token or in X-API-Key."
    )
    backend: BackendName = Field("auto", description="Runtime; auto measures what is installed.")
    provider: ProviderName = Field("auto", description="What the runtime runs on.")
    precision: PrecisionName = Field("auto", description="Arithmetic of the forward pass.")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads; 0: one a core.")
    streams: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None,
        description="Batches that the CPU computes at once, the threads shared among them; unset: "
        "one a thread, at most 4.",
    )
    teacher: str | None = Field(
        None, description="Name or path of the teacher's bundle, served beside the student's."
    )
    teacher_backend: BackendName = Field("auto", description="As backend, for the teacher.")
    teacher_provider: ProviderName = Field("auto", description="As provider, for the teacher.")
    teacher_precision: PrecisionName = Field("auto", description="As precision, for the teacher.")
    mode: Mode = Field(
        "student", description="Who scores requests that do not say: student, teacher or cascade."
    )
    shadow: Share = Field(
        0.0, description="Share of requests that the teacher scores too, later, to compare."
    )
    cascade_share: Share = Field(
        0.25, description="The largest share of a request's passages that a cascade sends on."
    )
    disagreements: Path | None = Field(
        None, description="JSONL file for shadowed requests whose best passage differs."
    )
    disagreement_texts: bool = Field(
        False, description="Write their texts; otherwise only the sha256 of each."
    )
    disagreements_max_bytes: Annotated[int, Field(ge=1)] = Field(
        64 * 1024 * 1024, description="When the file is as large as this, no more is written."
    )
    passage_cache: Annotated[int, Field(ge=0)] = Field(
        10_000, description="Passages whose tokens are kept for the next request; 0: none."
    )
    batch_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Tokens in a batch, padding counted; unset: by the backend."
    )
    cuda_graphs: bool = Field(
        True, description="Launch the kernels of a shape that came before as one, on CUDA."
    )
    slots: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="Batches in the backend at once; unset: streams, on a GPU 2."
    )
    length_step: Annotated[int, Field(ge=1, le=512)] | None = Field(
        None, description="Pairs are padded to a multiple of it, in tokens; unset: 8, on a GPU 16."
    )
    queue_tokens: Annotated[int, Field(ge=1)] = Field(
        524_288, description="Tokens that may wait; past it, requests get 429."
    )
    max_passages: Annotated[int, Field(ge=1)] = Field(
        4_000, description="Passages in a request; past it, 413."
    )
    max_body_bytes: Annotated[int, Field(ge=1)] = Field(
        8 * 1024 * 1024, description="Bytes in a request's body; past it, 413."
    )
    timeout_ms: Annotated[int, Field(ge=1)] = Field(
        10_000, description="Time for a request that does not set its own timeout_ms."
    )
    max_timeout_ms: Annotated[int, Field(ge=1)] = Field(
        60_000, description="The longest timeout_ms a request may ask for."
    )
    drain_seconds: Annotated[int, Field(ge=0)] = Field(
        30, description="After SIGTERM, time to finish what was accepted."
    )
    cache_dir: Path = Field(
        default_factory=default_cache, description="Where measurements and engines are kept."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _together(self) -> Self:
        mistakes = []
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
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    @property
    def wish(self) -> Wish:
        """What is asked of the student's backend."""
        return Wish(
            self.backend,
            self.provider,
            self.precision,
            self.threads,
            self.streams or usual_streams(self.threads),
            self.cuda_graphs,
        )

    @property
    def teacher_wish(self) -> Wish:
        """What is asked of the teacher's backend."""
        return Wish(
            self.teacher_backend,
            self.teacher_provider,
            self.teacher_precision,
            self.threads,
            self.streams or usual_streams(self.threads),
            self.cuda_graphs,
        )


def load_settings(file: Path | None = None, **flags: Any) -> Settings:
    """Put settings together; a flag that is None is a flag not given.

    Raises `StartError` with every mistake: unknown names, wrong values, an unreadable file.
    """
    source = file or (Path(name) if (name := os.environ.get("RETORT_SETTINGS")) else None)
    _check_environment()
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return _with_file(source)(**given)
    except ValidationError as error:
        raise StartError(f"settings: {'; '.join(map(_told, error.errors()))}") from None


def _told(mistake: ErrorDetails) -> str:
    message = mistake["msg"].removeprefix("Value error, ")
    return ": ".join([*map(str, mistake["loc"]), message])


def _with_file(file: Path | None) -> type[Settings]:
    if file is None:
        return Settings
    if not file.is_file():
        raise StartError(f"settings file {file}: no such file")
    path, suffix = file, file.suffix
    readers: dict[str, type[YamlConfigSettingsSource] | type[TomlConfigSettingsSource]] = {
        ".yaml": YamlConfigSettingsSource,
        ".yml": YamlConfigSettingsSource,
        ".toml": TomlConfigSettingsSource,
    }
    if suffix not in readers:
        raise StartError(f"settings file {file}: expected one that ends in {', '.join(readers)}")

    class SettingsWithFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            try:
                from_file = readers[suffix](settings_cls, path)
            except Exception as error:
                raise StartError(f"settings file {path}: {error}") from None
            return init_settings, env_settings, from_file

    return SettingsWithFile


def _check_environment() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    unknown = sorted(n for n in os.environ if n.startswith(PREFIX) and n not in known)
    if unknown:
        raise StartError(
            f"environment: unknown {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
