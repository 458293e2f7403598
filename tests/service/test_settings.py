from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retort.models.errors import StartError
from retort.service.settings import Settings, load_settings

URL = "https://r.example/rerank"


def test_defaults() -> None:
    settings = load_settings()
    assert (settings.bundle, settings.port) == (("retort-small",), 8080)


@pytest.mark.parametrize(
    ("name", "text"), [("s.yaml", "port: 1\nhost: h"), ("s.toml", "port = 1\nhost = 'h'")]
)
def test_flags_win_over_environment_wins_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert (load_settings(file).port, load_settings(file).host) == (1, "h")
    monkeypatch.setenv("RETORT_PORT", "2")
    assert load_settings(file).port == 2
    assert load_settings(file, port=3).port == 3
    assert load_settings(file, port=None).port == 2
    monkeypatch.setenv("RETORT_SETTINGS", str(file))
    assert load_settings().host == "h"


def test_nothing_is_read_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETORT_PORT", "7")
    assert Settings().port == 7


def test_every_mistake_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("port: many\ncolour: blue")
    monkeypatch.setenv("RETORT_QUEUE_TOKENS", "-1")
    with pytest.raises(StartError, match=r"(?s)queue_tokens.*port.*colour|port.*queue_tokens"):
        load_settings(file)


def test_a_misspelt_variable_is_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETORT_PROT", "80")
    with pytest.raises(StartError, match="unknown RETORT_PROT; there are"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.yaml", None, "no such file"),
        ("s.ini", "", "ends in .yaml, .yml, .toml"),
        ("s.toml", "port = ", "s.toml"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(StartError, match=message):
        load_settings(file)


@pytest.mark.parametrize("origin", ["https://x.example/", "x.example", "https://x.example/page"])
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    assert load_settings(cors_origins=("*", "http://localhost:3000")).cors_origins[0] == "*"
    with pytest.raises(StartError, match="cors_origins"):
        load_settings(cors_origins=(origin,))


@pytest.mark.parametrize("name", ["api_key", "admin_api_key", "teacher_api_key"])
def test_a_key_is_what_a_header_can_carry(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("RETORT_TEACHER", URL)
    monkeypatch.setenv("RETORT_SHADOW", "0.1")
    monkeypatch.setenv(f"RETORT_{name.upper()}", " hush\n")
    assert getattr(load_settings(), name).get_secret_value() == "hush"
    monkeypatch.setenv(f"RETORT_{name.upper()}", "\n")
    with pytest.raises(StartError, match=f"{name}: the key is empty"):
        load_settings()


def test_other_processes_get_the_settings_of_a_teacher_at_a_url() -> None:
    given = load_settings(teacher=URL, shadow=0.1, teacher_api_key="hush", teacher_scores="raw")
    again = load_settings(**given.to_json())
    assert again == given
    assert again.teacher_api_key is not None
    assert again.teacher_api_key.get_secret_value() == "hush"


def test_the_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETORT_API_KEY", "hush")
    settings = load_settings()
    assert settings.api_key is not None
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "cascade"}, "mode is cascade, which needs a teacher: set teacher"),
        ({"mode": "teacher"}, "mode is teacher, which needs a teacher: set teacher"),
        ({"shadow": 0.1}, "shadow is 0.1, which needs a teacher: set teacher"),
        ({"disagreements": "d.jsonl", "teacher": "t"}, "shadow is 0, so nothing would be"),
        ({"disagreement_texts": True}, "set disagreements"),
        ({"shadow": 1.5, "teacher": "t"}, "shadow: Input should be less than or equal to 1"),
        ({"cascade_share": -1}, "cascade_share: Input should be greater"),
        (
            {"teacher": URL, "shadow": 0.1, "mode": "teacher"},
            "mode is teacher, and teacher is",
        ),
        ({"teacher": URL, "shadow": 0.1, "mode": "cascade"}, "mode is cascade, and teacher is a"),
        ({"teacher": URL}, "shadow is 0, so it is never asked: set shadow"),
        ({"teacher": "ftp://r.example/rerank", "shadow": 0.1}, "expected https:// or http://"),
        ({"teacher": "https:///rerank", "shadow": 0.1}, "expected https:// or http://"),
        ({"teacher": "https://r.example:x/rerank", "shadow": 0.1}, "not a URL"),
        ({"teacher": "https://r.example", "shadow": 0.1}, "as in https://r.example/score"),
        ({"teacher": "https://u:p@r.example/a", "shadow": 0.1}, "set teacher_api_key instead"),
        ({"teacher": URL, "shadow": 0.1, "teacher_backend": "openvino"}, "teacher is a URL: unset"),
        ({"teacher": "t", "teacher_model": "m"}, "teacher_model is set, and teacher is no URL"),
        ({"teacher": URL, "shadow": 0.1, "teacher_shape": "other"}, "teacher_shape: Input should"),
        ({"mode": "both"}, "mode: Input should be 'student', 'teacher' or 'cascade'"),
    ],
)
def test_what_does_not_go_together(given: dict[str, Any], message: str) -> None:
    with pytest.raises(StartError, match="settings: ") as caught:
        load_settings(**given)
    assert message in str(caught.value)
    assert "Value error" not in str(caught.value)


def test_all_that_does_not_go_together_is_named_at_once() -> None:
    with pytest.raises(StartError, match=r"mode is cascade.*shadow is 0\.1"):
        load_settings(mode="cascade", shadow=0.1)


def test_streams_are_part_of_what_is_asked_for() -> None:
    settings = load_settings(streams=2, threads=2)
    assert (settings.runtime.streams, settings.teacher_runtime.streams) == (2, 2)
    with pytest.raises(StartError, match="length_step: Input should be greater"):
        load_settings(length_step=0)


def test_the_teacher_has_options_of_its_own() -> None:
    settings = load_settings(
        teacher="t", backend="openvino", teacher_backend="onnxruntime", teacher_precision="fp32"
    )
    assert settings.runtime.backend == "openvino"
    options = settings.teacher_runtime
    assert (options.backend, options.provider, options.precision) == ("onnxruntime", "auto", "fp32")
