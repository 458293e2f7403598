"""Pages: from templates, or Markdown tables, figures with intervals, and marked sections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol


class Interval(Protocol):
    """A value and the bounds of its interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def fill(template: Path, **values: object) -> str:
    """The page that a Jinja2 template makes of `values`, which it names as written here.

    It may call `table` for the text of a Markdown table, and the figures' functions below. In a
    template for HTML every value is escaped. Raises `ModuleNotFoundError` without Jinja2.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=".html" in template.suffixes,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "table": lambda *given, **named: "\n".join(table(*given, **named)),
        "number": number,
        "interval": interval,
        "percent": percent,
        "signed": signed,
    }
    return environment.get_template(template.name).render(values)


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()
) -> list[str]:
    """Lines of a Markdown table; the columns in `right` are aligned to the right.

    >>> table(["what", "ms"], [["p50", "3.1"]], right=[1])
    ['| what | ms |', '| --- | ---: |', '| p50 | 3.1 |']
    """
    aligned = set(right)
    rules = ["---:" if column in aligned else "---" for column in range(len(header))]
    lines = [header, rules, *rows]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]


def number(value: float | None, spec: str = ".4f") -> str:
    """`0.7712`; nothing for None. Four digits: the fourth is within every interval here."""
    return "" if value is None else format(value, spec)


def interval(found: Interval | None, spec: str = ".4f") -> str:
    """`0.7712 [0.7401, 0.8010]`; nothing for None."""
    if found is None:
        return ""
    return f"{found.value:{spec}} [{found.low:{spec}}, {found.high:{spec}}]"


def percent(found: Interval | None, bounds: bool = False) -> str:
    """`97.3%`, with bounds `97.3% [96.1%, 98.4%]`; nothing for None."""
    if found is None:
        return ""
    return interval(found, ".1%") if bounds else f"{found.value:.1%}"


def signed(found: Interval | None, bounds: bool = False) -> str:
    """`+0.0312 [+0.0201, +0.0420]`; without bounds a star says that they exclude zero."""
    if found is None:
        return ""
    if bounds:
        return interval(found, "+.4f")
    return f"{found.value:+.4f}{'*' if found.low > 0 or found.high < 0 else ''}"


def section(page: Path, text: str, begin: str, end: str, title: str) -> None:
    """Put `text` between the markers `begin` and `end` of `page`; a missing page is started.

    Raises `ValueError` if the page has text but not both markers, in order.
    """
    block = f"{begin}\n{text}{end}"
    if not page.exists():
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"# {title}\n\n{block}\n", encoding="utf-8")
        return
    old = page.read_text(encoding="utf-8")
    before, found, rest = old.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(
            f"{page} lacks the markers {begin!r} and {end!r}: add them where the report belongs"
        )
    page.write_text(f"{before}{block}{after}", encoding="utf-8")
