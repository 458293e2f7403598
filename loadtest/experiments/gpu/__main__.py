"""Run one part, or write the report; the package's docstring says how."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from retort.loadtest.experiments.gpu.machine import machine
from retort.loadtest.experiments.gpu.options import Options, parse
from retort.loadtest.experiments.gpu.parts import Found, write_part
from retort.loadtest.experiments.gpu.passes import bare, probe
from retort.loadtest.experiments.gpu.report import write_report
from retort.loadtest.experiments.gpu.servers import http
from retort.models.bundle import Bundle, find_bundle, read_bundle

PARTS: dict[str, Callable[[Options, Bundle], Found]] = {
    "machine": machine,
    "probe": probe,
    "bare": bare,
    "http": http,
}


def main() -> None:
    """Run one part and keep its result."""
    options = parse(sys.argv[1:])
    if options.part == "report":
        write_report(options.out)
        return
    found = PARTS[options.part](options, read_bundle(find_bundle(options.bundle)))
    write_part(options.out, options.name, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
