"""The locustfile: Retort's users for Locust's own command line and web page.

Clients that wait for their answers, and the page on http://localhost:8089:

    locust -f loadtest/locustfile.py --host http://localhost:8080

Twenty requests per second, for a minute, answered or not:

    locust -f loadtest/locustfile.py OpenLoopUser --host http://localhost:8080 \
        --headless --users 20 --run-time 60s

With a load shape (`ramp`, `spike`, `soak`), or with all of them to choose from in the page:

    locust -f loadtest/locustfile.py,loadtest/shapes/spike.py OpenLoopUser --host …
    locust -f loadtest/locustfile.py,loadtest/shapes --class-picker --host …

The latency of an `OpenLoopUser` counts from when a request was due, not from when it was sent.
"""

from __future__ import annotations

# First of all: it patches the standard library, which others then import patched.
from locust import events  # isort: skip

import json
from pathlib import Path
from typing import Any

import gevent

from retort.loadtest.targets import RETORT
from retort.loadtest.traffic import EXTRACT, fill_up, read_requests
from retort.loadtest.users import ClosedLoopUser, OpenLoopUser, ScoreUser

__all__ = ["ClosedLoopUser", "OpenLoopUser"]


def _options(parser: Any) -> None:
    group = parser.add_argument_group("Retort")
    group.add_argument("--passages", type=int, default=10, help="Passages per request.")
    group.add_argument(
        "--pairs", default=str(EXTRACT), help="File of query<TAB>passage lines to send."
    )
    group.add_argument(
        "--rate", type=float, default=1.0, help="Requests per second of each OpenLoopUser."
    )
    group.add_argument(
        "--arrivals", choices=("poisson", "even"), default="poisson",
        help="Gaps between the requests of an OpenLoopUser.",
    )  # fmt: skip
    group.add_argument(
        "--mode", choices=("", "student", "teacher", "cascade"), default="",
        help="Model that scores; empty: as the server is set.",
    )  # fmt: skip
    # Not of the group: only the parser itself knows secrets.
    parser.add_argument(
        "--api-key", default="", env_var="RETORT_API_KEY", is_secret=True,
        help="Key that the server asks for.",
    )  # fmt: skip


def _prepare(environment: Any, **others: object) -> None:
    """Choose the users: without a name on the command line the closed ones alone, not a mixture."""
    # Its loop's clock stands since before the imports, and Locust is about to set timers by it.
    gevent.get_hub().loop.update_now()
    options = environment.parsed_options
    if not options.user_classes and not options.class_picker:
        environment.user_classes = [ClosedLoopUser]


def _read(environment: Any, **others: object) -> None:
    """Read the texts anew for each test: the page may have changed the options."""
    options = environment.parsed_options
    count = options.passages
    requests = fill_up(read_requests(Path(options.pairs), passages=count), count)
    mode = {"mode": options.mode} if options.mode else {}
    ScoreUser.bodies = tuple(json.dumps({**RETORT.body(r), **mode}) for r in requests)
    ScoreUser.pairs = tuple(len(request.passages) for request in requests)
    ScoreUser.headers = {"Content-Type": "application/json"}
    if options.api_key:
        ScoreUser.headers["Authorization"] = f"Bearer {options.api_key}"
    OpenLoopUser.rate, OpenLoopUser.arrivals = options.rate, options.arrivals


events.init_command_line_parser.add_listener(_options)
events.init.add_listener(_prepare)
events.test_start.add_listener(_read)
