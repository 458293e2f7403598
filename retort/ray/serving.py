"""The replica: the server of one process, with Ray Serve's proxy in front of it.

Its routes, shapes and errors are those of `retort serve`: it is the same app. What is Serve's own
matter is left to Serve: connections, TLS, how many replicas there are, which of them gets a request
and when one is replaced. A newer bundle comes by deploying again, replica by replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retort.models.errors import StartError
from retort.ray.policy import QUEUE
from retort.service.engines import LocalEngines, State
from retort.service.http.app import create_app
from retort.service.log import log_to_stderr
from retort.service.metrics import Metrics
from retort.service.server import read_served
from retort.service.service import Service
from retort.service.settings import load_settings

NAME = "retort"  # of the deployment, for a config file
# Settings that are Serve's matter: ours would have no effect.
OF_SERVE = frozenset(
    {"host", "port", "uds", "uds_mode", "workers", "tls_cert", "tls_key", "standby", "root_path"}
)
# A replica's queue is bounded in tokens, and full it answers 429. Serve's limit is far above.
MOST_REQUESTS = 1_000
LOOK_SECONDS = 0.05


def application(args: Mapping[str, Any]) -> serve.Application:
    """The deployment, bound to its settings. Raises `StartError` for wrong ones."""
    if wrong := sorted(OF_SERVE.intersection(args)):
        raise StartError(
            f"{wrong[0]}: in Ray Serve it is a matter of Serve's own config: leave out"
        )
    load_settings(**args)  # here a mistake ends the deployment, and not each replica
    deploy = serve.deployment(
        name=NAME, max_ongoing_requests=MOST_REQUESTS, ray_actor_options={"num_cpus": 1}
    )
    deployment: serve.Deployment = deploy(serve.ingress()(Replica))
    return deployment.bind(dict(args))


class Replica:
    """One engine with its front end; ready when the golden pairs came out right."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        settings = load_settings(**{"threads": _cores(), **args})
        log_to_stderr(settings)
        self._service = Service(settings, LocalEngines(settings, Metrics(), *read_served(settings)))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Serve sends requests to, once its start has ended."""
        return _ready_first(create_app(self._service), self._service)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What a policy sees of this replica."""
        return {QUEUE: sum(model.queue_tokens for model in self._service.engines.models)}

    def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises."""
        if not self._service.engines.alive:
            raise RuntimeError(self._service.health.reason or "a forward pass hangs")


def _cores() -> int:
    """The cores that Ray has given this replica; at least one."""
    given: dict[str, float] = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    return max(1, int(given.get("CPU", 1)))


def _ready_first(app: ASGIApp, service: Service) -> ASGIApp:
    """The app, whose start ends when its models are loaded: Serve sends no request before."""

    async def ready(scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                while service.health.state is State.LOADING:
                    await asyncio.sleep(LOOK_SECONDS)
                if service.health.state is State.FAILED:
                    message = {"type": "lifespan.startup.failed", "message": service.health.reason}
            await send(message)

        await app(scope, receive, told if scope["type"] == "lifespan" else send)

    return ready
