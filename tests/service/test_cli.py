from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.models.bundle import Bundle
from retort.service.settings import GROUPS, OTHER_VARIABLES, Settings, variable
from tests.commands import COMMANDS, options
from tests.models.test_signature import make_keys
from tests.tiny_texts import PASSAGES, QUERIES

ROOT = Path(__file__).parents[2]
SECRETS = {"api_key", "admin_api_key", "teacher_api_key"}


@pytest.mark.parametrize("command", ["serve", "verify", "sign", "score"])
def test_help_has_an_example(command: str) -> None:
    ended = CliRunner().invoke(app, [command, "--help"])
    assert ended.exit_code == 0
    assert f"Example: retort {command}" in " ".join(ended.stdout.split())


def test_score(tiny_bundle: Bundle) -> None:
    pair = tiny_bundle.golden[0]
    flags = ["--bundle", str(tiny_bundle.folder), "--precision", "fp32", "--json"]
    ended = CliRunner().invoke(app, ["score", pair.query, pair.passage, *PASSAGES[1:], *flags])
    assert ended.exit_code == 0, ended.stderr
    results = json.loads(ended.stdout)["results"]
    assert sorted(result["index"] for result in results) == [0, 1, 2, 3]
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    own = next(result for result in results if result["index"] == 0)
    assert own["score"] == pytest.approx(pair.score, abs=1e-3)


def test_score_reads_passages_from_standard_input(tiny_bundle: Bundle) -> None:
    ended = CliRunner().invoke(
        app,
        ["score", QUERIES[0], "-", "--bundle", str(tiny_bundle.folder)],
        input="\n".join(PASSAGES),
    )
    assert ended.exit_code == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == len(PASSAGES)
    assert PASSAGES[0] in ended.stdout


def test_score_refuses_an_empty_query() -> None:
    ended = CliRunner().invoke(app, ["score", " ", "paris"])
    assert ended.exit_code == 1
    assert "no letter and no digit" in ended.stderr


def test_verify(tiny_bundle: Bundle) -> None:
    ended = CliRunner().invoke(app, ["verify", str(tiny_bundle.folder)])
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    assert "files and hashes: ok" in ended.stdout
    assert "onnxruntime/cpu/fp32: ok" in ended.stdout
    ended = CliRunner().invoke(app, ["verify", str(tiny_bundle.folder), "--json"])
    told = json.loads(ended.stdout)
    assert told["passed"] is True
    assert told["golden_pairs"] == len(tiny_bundle.golden)


def test_verify_names_what_is_damaged(tiny_bundle: Bundle, tmp_path: Path) -> None:
    for file in tiny_bundle.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    ended = CliRunner().invoke(app, ["verify", str(tmp_path)])
    assert ended.exit_code == 1
    assert "tokenizer.json: sha256 is" in ended.stderr


def test_a_bundle_is_signed_and_then_trusted(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(shutil.copytree(tiny_bundle.folder, tmp_path / "bundle"))
    private, public = make_keys(tmp_path)
    _, other = make_keys(tmp_path, "other")
    verify = ["verify", folder, "--backend", "onnxruntime", "--key"]
    ended = CliRunner().invoke(app, [*verify, str(public)])
    assert ended.exit_code == 1
    assert "manifest.sig: not there" in ended.stderr
    ended = CliRunner().invoke(app, ["sign", folder, "--key", str(private)])
    assert ended.exit_code == 0, ended.stderr
    ended = CliRunner().invoke(app, [*verify, str(public)])
    assert ended.exit_code == 0, ended.stderr
    assert f"signature: ok, by {public}" in ended.stdout
    ended = CliRunner().invoke(app, [*verify, str(other)])
    assert ended.exit_code == 1
    ended = CliRunner().invoke(app, ["sign", folder, "--key", str(public)])
    assert ended.exit_code == 1
    assert "expected a private" in ended.stderr
    # A key that is always to be trusted.
    monkeypatch.setenv("RETORT_TRUSTED_KEY", str(other))
    for command in (verify[:-1], ["score", "q", "p", "--bundle", folder]):
        ended = CliRunner().invoke(app, command)
        assert ended.exit_code == 1
        assert "another key" in ended.stderr


def test_wrong_settings_are_one_line_on_stderr() -> None:
    ended = CliRunner().invoke(app, ["serve", "--port", "99999"])
    assert ended.exit_code == 1
    assert "error: settings: port" in ended.stderr


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def test_every_setting_but_secrets_is_a_flag_with_the_fields_help_default_and_variable() -> None:
    fields = Settings.model_fields
    switches = {flag(f"no_{name}") for name, field in fields.items() if field.annotation is bool}
    flags = {flag(name) for name in fields.keys() - SECRETS}
    assert options("serve") == flags | switches | {"--settings", "--model", "--help"}
    for parameter in COMMANDS["serve"].params:
        if parameter.name in fields:
            field = fields[parameter.name]
            assert field.description
            assert parameter.help.startswith(field.description)
            assert parameter.help.endswith(f"[{variable(parameter.name)}]")
            assert parameter.default is None
    assert fields.keys() > GROUPS.keys()


def test_commands_without_a_server_share_the_settings_options() -> None:
    backend = {"--backend", "--provider", "--precision"}
    assert options("verify") == backend | {"--key", "--json", "--help"}
    assert options("sign") == {"--key", "--help"}
    assert options("score") == backend | {"--bundle", "--threads", "--json", "--help"}


def test_every_variable_in_the_documents_is_one_of_a_setting() -> None:
    known = {variable(name) for name in Settings.model_fields} | OTHER_VARIABLES
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        named = set(re.findall(r"\bRETORT_[A-Z][A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
        assert named <= known, f"{page.name}: {named - known}"


def test_flags_reach_the_settings_as_what_they_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Settings] = []
    monkeypatch.setattr("retort.service.server.serve", served.append)
    monkeypatch.setenv("RETORT_PORT", "1")
    flags = ["--port", "9000", "--no-cuda-graphs", "--cache-dir", "/c", "--teacher", "t"]
    ended = CliRunner().invoke(app, ["serve", *flags, "--shadow", "0.5", "--slots", "3"])
    assert ended.exit_code == 0, ended.output
    expected = Settings(
        port=9000, cuda_graphs=False, cache_dir=Path("/c"), teacher="t", shadow=0.5, slots=3
    )
    assert served == [expected]
