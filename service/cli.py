"""The command line of the service: `retort serve`, `verify`, `sign`, `key` and `score`.

Options that are settings are made from the fields of `Settings` when a command is run or its help
is shown: until then neither pydantic nor a backend is imported.
"""

from __future__ import annotations

import inspect
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from retort.ranked import RankedPassage

BundleArgument = Annotated[str, typer.Argument(help="Name or path of the bundle.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for a machine.")]


def settings_command(*names: str) -> type[TyperCommand]:
    """A command that takes these settings, by default all, in addition to its own parameters.

    Their values, None where not given, are the context's `obj`.
    """

    class SettingsCommand(TyperCommand):
        own: list[Any]
        made: list[Any] | None = None

        @property
        def params(self) -> list[Any]:
            if self.made is None:
                self.made = [*self.own, *_settings_options(names)]
            return self.made

        @params.setter
        def params(self, own: list[Any]) -> None:
            self.own = own

        def invoke(self, ctx: Any) -> Any:
            ours = {parameter.name for parameter in self.own}
            ctx.obj = {name: ctx.params.pop(name) for name in {*ctx.params} - ours}
            return super().invoke(ctx)

    return SettingsCommand


def _settings_options(names: tuple[str, ...]) -> list[Any]:
    """One option per setting, as typer makes it of a function's parameters."""
    from pydantic import SecretStr

    from retort.service.settings import GROUPS, Settings, variable

    parameters = []
    group = ""
    for name, field in Settings.model_fields.items():
        group = GROUPS.get(name, group)
        kind = _plain(field.annotation)
        if kind is SecretStr or (names and name not in names):
            continue
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        one_of = f" One of {', '.join(choices)}." if choices else ""
        several = get_origin(kind) is tuple
        shape = "str" if choices or several else kind.__name__.lower()
        default = field.get_default(call_default_factory=True)
        # Said here: of an option that is not given, typer shows a default of words in parentheses.
        unless = "" if default is None else f" [default: {_shown(default)}]"
        option = typer.Option(
            help=f"{field.description}{one_of}{unless} [{variable(name)}]",
            metavar=None if kind is bool else f"<{shape}>",
            show_default=False,
            rich_help_panel=None if names else group,
        )
        # Text of any other kind is parsed by `Settings`, for one kind of error message.
        value: Any = bool | None if kind is bool else list[str] | None if several else str | None
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[value, option],
            )
        )

    def options(**_: Any) -> None: ...

    options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(options)
    return list(typer.main.get_command(app).params)


def _plain(kind: Any) -> Any:
    """A field's type without None and without its bounds."""
    if get_origin(kind) is Annotated:
        return get_args(kind)[0]
    if NoneType in get_args(kind):
        return _plain(get_args(kind)[0])
    return kind


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ", ".join(default) or "none"
    return str(default).replace(str(Path.home()), "~")


def register(app: typer.Typer) -> None:
    """Add the service's subcommands to `app`."""
    backend = ("backend", "provider", "precision")
    app.command("serve", cls=settings_command())(serve)
    app.command("verify", cls=settings_command(*backend))(verify)
    app.command("key")(key)
    app.command("sign")(sign)
    app.command("score", cls=settings_command("bundle", *backend, "threads"))(score)


def serve(
    context: typer.Context,
    settings: Annotated[
        Path | None, typer.Option(help="A .yaml or .toml file of settings. [RETORT_SETTINGS]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A cross-encoder that is no bundle yet, by its folder or hub name, in place of "
            "--bundle. It becomes one at the first start, which takes a minute and the extra train."
        ),
    ] = None,
) -> None:
    """Serve a bundle over HTTP.

    Every setting is also an environment variable, named in its help, and a line of the settings
    file; flags win over the environment, and that over the file. The API key is set by
    `RETORT_API_KEY` or in the file.

    Example: `retort serve --bundle retort-small --port 8080`
    """
    from retort.models.errors import StartError
    from retort.service.server import serve as run
    from retort.service.settings import load_settings

    flags = context.obj
    if model is not None:
        from retort.service.bundled import bundle_of

        if flags["bundle"]:
            raise StartError(f"--bundle and --model {model}: give one of the two")
        cache = load_settings(settings, **flags).cache_dir
        flags = {**flags, "bundle": [str(bundle_of(model, cache))]}
    run(load_settings(settings, **flags))


def verify(
    context: typer.Context,
    bundle: BundleArgument,
    key: Annotated[
        Path | None,
        typer.Option(help="Public key that it must be signed with; else RETORT_TRUSTED_KEY."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle: its files, its hashes, and its golden scores on every backend there is.

    With a key, its signature too. Ends with status 1 if a file or the signature is wrong, if a
    backend gives other scores in fp32 or in the precision that was asked for, or if none can run.

    Example: `retort verify retort-small`
    """
    from retort.models.bundle import find_bundle, read_bundle
    from retort.models.runtime.verify import verify_bundle
    from retort.service.settings import load_settings

    settings = load_settings(**context.obj)
    found = read_bundle(find_bundle(bundle), key=key or settings.trusted_key)
    verdict = verify_bundle(found, settings.runtime, settings.cache_dir)
    if as_json:
        typer.echo(json.dumps(asdict(verdict), indent=2))
    else:
        typer.echo(verdict.describe())
    if not verdict.passed:
        raise typer.Exit(1)


def key(
    name: Annotated[str, typer.Argument(help="The key's name, for logs and metrics.")],
    admin: Annotated[bool, typer.Option("--admin", help="Let it open /admin too.")] = False,
) -> None:
    """Make an API key, and its entry for the file of the setting keys_file.

    The entry goes to standard output. The key itself goes to standard error, once: only its hash is
    kept.

    Example: `retort key search >> keys.yaml`
    """
    from retort.service.http.access.keys import new_key

    secret, entry = new_key(name, admin=admin)
    typer.echo(entry)
    typer.echo(f"the key, which is shown only now: {secret}", err=True)


def sign(
    bundle: BundleArgument,
    key: Annotated[
        Path, typer.Option(help="The private key: Ed25519, PEM, as `openssl genpkey` writes it.")
    ],
) -> None:
    """Sign a bundle: write `manifest.sig`, which `retort verify --key` and `trusted_key` check.

    Its files and hashes are checked first. Make a pair of keys once, with `openssl genpkey
    -algorithm ed25519 -out private.pem` and `openssl pkey -in private.pem -pubout -out public.pem`.

    Example: `retort sign runs/bundles/mine --key private.pem`
    """
    from retort.models.bundle import find_bundle, sign_bundle

    signed = sign_bundle(find_bundle(bundle), key)
    typer.echo(f"signed {signed.manifest.name} {signed.manifest.version} in {signed.folder}")


def score(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="The question.")],
    passages: Annotated[
        list[str],
        typer.Argument(help="The passages; - reads them from standard input, one per line."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Score passages against a query, best first, without a server.

    Example: `retort score "how tall is the eiffel tower" "The tower is 330 metres tall." "Paris."`
    """
    texts = [
        text
        for passage in passages
        for text in (sys.stdin.read().splitlines() if passage == "-" else [passage])
    ]
    from retort.models.bundle import find_bundle, read_bundle
    from retort.ranker import Ranker
    from retort.service.settings import load_settings

    if not texts:
        raise ValueError("there are no passages")
    settings = load_settings(**context.obj)
    found = read_bundle(find_bundle(settings.bundle[0]), key=settings.trusted_key)
    ranker = Ranker(found, settings.runtime, settings.cache_dir)
    results = ranker.rank(query, texts)
    if as_json:
        typer.echo(json.dumps({"query": query, "results": [*map(_told, results)]}, indent=2))
        return
    for result in results:
        flags = f"  ({', '.join(result.flags)})" if result.flags else ""
        typer.echo(f"{result.score:.4f}  ±{result.spread:.4f}  {texts[result.index]}{flags}")


def _told(result: RankedPassage) -> dict[str, Any]:
    """A result as the server tells it."""
    from retort.models.reading.highlights import told
    from retort.models.reading.passages import Note

    note = Note(result.window, result.windows, result.flags)
    return {
        "index": result.index,
        "score": result.score,
        "spread": result.spread,
        **told(note, result.highlight),
    }
