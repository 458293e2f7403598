"""YAML as recipes have it, which is YAML 1.2: `no`, `off` and `yes` are words, `1e-4` is a number.

PyYAML reads YAML 1.1, where they are truth values and a text. A field that is true or false takes
those words nevertheless: pydantic knows them.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

# What is no text, and the characters it may begin with (YAML 1.2, core schema).
_PLAIN: tuple[tuple[str, str, list[str]], ...] = (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
    ("merge", r"<<", ["<"]),
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the fast one
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def whole_number(self, node: yaml.ScalarNode) -> int:
        """`010` is ten, and `0o10` eight."""
        text = node.value
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; a field that is there twice is a mistake, where PyYAML takes the last."""
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the field {key.value} is there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


for _name, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)


def read_yaml(text: str) -> Any:
    """Plain values of YAML 1.2. Raises `yaml.YAMLError`.

    >>> read_yaml("{precision: no, lr: 1e-4, freeze_words: false, seed: 7}")
    {'precision': 'no', 'lr': 0.0001, 'freeze_words': False, 'seed': 7}
    """
    try:
        return yaml.load(text, _Loader)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What PyYAML raises where a tag is written out, as in `!!int abc`.
        raise yaml.YAMLError(str(error)) from error


def fault_of(error: yaml.YAMLError) -> str:
    """What is wrong with a text that is no YAML, with its line where it is known."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: not YAML: {error.problem}"
    return f"not YAML: {' '.join(str(error).split())}"
