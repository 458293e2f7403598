"""The settings file and the report."""

from __future__ import annotations

from pathlib import Path

from retort.loadtest.report import write_section
from retort.loadtest.tune.page import BEGIN, END, result, to_markdown, to_settings, write_settings
from retort.service.settings import load_settings
from tests.loadtest.tune.findings import outcome


def test_the_server_takes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "tuned.yaml"
    write_settings(outcome(), file)
    settings = load_settings(file)
    assert (settings.bundle, settings.backend, settings.streams) == ("retort-small", "openvino", 2)


def test_its_head_says_where_the_values_come_from() -> None:
    head = [line for line in to_settings(outcome()).splitlines() if line.startswith("#")]
    text = "\n".join(head)
    for part in ("2026-01-01", "retort tune --quick", "a machine", "0.2.0", "1.50 times"):
        assert part in text
    # `make serve` looks for this line.
    assert "\nbundle: retort-small\n" in to_settings(outcome())


def test_the_result_says_what_was_won() -> None:
    found = result(outcome(30.0, 20.0))
    assert found.startswith("30.0 requests (300 pairs) a second with p99 90.0 ms")
    assert "The defaults, in turn with it: 20.0" in found
    assert "met the target at no rate" in result(outcome(30.0, None))
    assert "nothing did better" in result(outcome(20.0, 30.0))


def test_the_page_has_servers_screening_and_what_was_left_out(tmp_path: Path) -> None:
    text = to_markdown(outcome(30.0, None))
    assert (
        "| 2 s | openvino/cpu/int8, all threads, 2 streams | 30.0 | 300 | 40.0 | 90.0 | 60.0 |"
        in text
    )
    assert "| 2 s | the defaults | none | – | – | – | 2.0 |" in text
    assert "| backend and precision | openvino/cpu/int8 | 300 (250 to 340) | 33.0 |" in text
    assert "* onnxruntime/cuda/fp32: there is no GPU" in text
    page = tmp_path / "performance.md"
    page.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_section(page, text, begin=BEGIN, end=END)
    written = page.read_text(encoding="utf-8")
    assert "old" not in written
    assert written.startswith("# Before\n")
    assert written.endswith("after\n")


def test_the_page_of_the_project_has_its_markers() -> None:
    text = (Path(__file__).parents[3] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
