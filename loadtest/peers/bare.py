"""The bare loop: our backend without a server around it, the ceiling of what a server can do."""

from __future__ import annotations

from retort.loadtest.bench import bare_rate, like_length_batches
from retort.loadtest.counters import Counters
from retort.loadtest.peers.loads import Workload
from retort.loadtest.peers.started import Started
from retort.loadtest.served import load_served
from retort.loadtest.step import Step, run_step
from retort.models.bundle import Bundle
from retort.models.runtime.base import Backend
from retort.service.settings import Settings

WARM_SECONDS = 1.0


class BareLoop:
    """The backend that our server runs, in this process, on batches as large as the server's."""

    def __init__(self, bundle: Bundle, ours: Started, settings: Settings, users: int) -> None:
        with ours.turn():
            served = ours.get_json("/info")["backend"]
        self._slots: int = served["slots"]
        self._ours = ours
        self._users = users
        self._encoder = bundle.encoder()
        self._backend: Backend = load_served(served, bundle, settings)
        self.info = self._backend.info
        self._batch_pairs: dict[str, int] = {}

    def pairs_per_second(self, workload: Workload, seconds: float) -> float:
        """What the loop manages on the workload's pairs."""
        if workload.name not in self._batch_pairs:
            self._batch_pairs[workload.name] = self._usual_batch(workload, seconds)
        size = self._batch_pairs[workload.name]
        batches = like_length_batches(self._encoder, workload.requests, size)
        # A first run, to be warm, does not count.
        bare_rate(self._backend.infer, batches, min(WARM_SECONDS, seconds), self._slots)
        return bare_rate(self._backend.infer, batches, seconds, self._slots)

    def _usual_batch(self, workload: Workload, seconds: float) -> int:
        """Pairs in our server's mean batch under closed load, which this puts on it."""
        ours, requests = self._ours, workload.requests
        with ours.turn():
            before = Counters.parse(ours.metrics())
            run_step(
                Step(
                    host=ours.host,
                    bodies=tuple(map(ours.api.encoded, requests)),
                    pairs=tuple(len(request.passages) for request in requests),
                    seconds=seconds,
                    users=self._users,
                )
            )
            return Counters.parse(ours.metrics()).since(before).usual_batch()
