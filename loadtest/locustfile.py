"""The locustfile: Retort's users for Locust's own command line and web page.

Clients that wait for their answers, and the page on http://localhost:8089:

    locust -f loadtest/locustfile.py --host http://localhost:8080

Twenty requests a second, for a minute, whatever becomes of them:

    locust -f loadtest/locustfile.py OpenLoopUser --host http://localhost:8080 \
        --headless --users 20 --run-time 60s

With a load shape (`ramp`, `spike`, `soak`), or with all of them to choose from in the page:

    locust -f loadtest/locustfile.py,loadtest/shapes/spike.py OpenLoopUser --host …
    locust -f loadtest/locustfile.py,loadtest/shapes --class-picker --host …

Of an `OpenLoopUser` latency counts from when a request was due, not from when it was sent.
"""

from __future__ import annotations

# First of all: it patches the standard library, which others then import patched.
from locust import events  # isort: skip

from pathlib import Path
from typing import Any

from retort.loadtest.extract import EXTRACT, bodies, read_ranking_requests
from retort.loadtest.users import ClosedLoopUser, OpenLoopUser, ScoreUser

__all__ = ["ClosedLoopUser", "OpenLoopUser"]


def _options(parser: Any) -> None:
    group = parser.add_argument_group("Retort")
    group.add_argument("--passages", type=int, default=10, help="Passages of a request.")
    group.add_argument(
        "--pairs", default=str(EXTRACT), help="File of query<TAB>passage lines to ask about."
    )
    group.add_argument(
        "--rate", type=float, default=1.0, help="Requests a second of each OpenLoopUser."
    )
    group.add_argument(
        "--arrivals", choices=("poisson", "even"), default="poisson",
        help="Gaps between the requests of an OpenLoopUser.",
    )  # fmt: skip
    group.add_argument(
        "--mode", choices=("", "student", "teacher", "cascade"), default="",
        help="Who is to score; empty: as the server is set.",
    )  # fmt: skip
    # Not of the group: only the parser itself knows secrets.
    parser.add_argument(
        "--api-key", default="", env_var="RETORT_API_KEY", is_secret=True,
        help="Key that the server asks for.",
    )  # fmt: skip


def _prepare(environment: Any, **others: object) -> None:
    """Choose the users: without a name on the command line the closed ones alone, not a mixture."""
    options = environment.parsed_options
    if not options.user_classes and not options.class_picker:
        environment.user_classes = [ClosedLoopUser]


def _read(environment: Any, **others: object) -> None:
    """Read the texts anew for each test: the page may have changed the options."""
    options = environment.parsed_options
    requests = read_ranking_requests(Path(options.pairs), passages=options.passages)
    asked = {"mode": options.mode} if options.mode else {}
    ScoreUser.bodies = bodies(requests, **asked)
    ScoreUser.pairs = tuple(len(request.passages) for request in requests)
    ScoreUser.headers = {"Content-Type": "application/json"}
    if options.api_key:
        ScoreUser.headers["Authorization"] = f"Bearer {options.api_key}"
    OpenLoopUser.rate, OpenLoopUser.arrivals = options.rate, options.arrivals


events.init_command_line_parser.add_listener(_options)
events.init.add_listener(_prepare)
events.test_start.add_listener(_read)
