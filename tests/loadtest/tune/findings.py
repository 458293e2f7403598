"""An outcome made up by hand."""

from __future__ import annotations

from retort.loadtest.figures import Spread
from retort.loadtest.tune.candidate import DEFAULTS, Candidate
from retort.loadtest.tune.outcome import Outcome, Place, Setup, Standings
from retort.loadtest.tune.screen import Heat, LeftOut, Screened
from retort.loadtest.tune.search import Probe
from retort.models.runtime.base import BackendInfo

ENGINE = BackendInfo("openvino", "cpu", "int8")
TUNED = Candidate(ENGINE, threads=0, streams=2)
BARRED = Candidate(BackendInfo("onnxruntime", "cuda", "fp32"))
SETUP = Setup(
    bundle="retort-small",
    described="retort-small 0.2.0",
    machine="a machine",
    load="ten questions",
    target_ms=100.0,
    created="2026-01-01",
    command="retort tune --quick",
)


def probe(rate: float, p99_ms: float | None = 90.0) -> Probe:
    """Two seconds at that rate."""
    return Probe(rate, 2.0, 100, 10 * rate, 40.0, p99_ms, 0)


def place(candidate: Candidate, rate: float | None) -> Place:
    """A place with that rate; None: the target was not met."""
    met = None if rate is None else probe(rate)
    return Place(candidate, met, probe(2 * (rate or 1.0), 300.0))


def outcome(tuned: float | None = 30.0, defaults: float | None = 20.0) -> Outcome:
    """The rates of the tuned server and of the one with the defaults."""
    places = [place(TUNED, tuned), place(DEFAULTS, defaults)]
    places.sort(key=lambda one: -one.rate)
    heat = Heat(
        "backend and precision",
        (Screened(Candidate(ENGINE), Spread(300.0, 250.0, 340.0, 3), 33.0),),
        (LeftOut(BARRED, "no backend can run as asked (this, that): there is no GPU |"),),
    )
    settings = {"backend": "openvino", "provider": "cpu", "precision": "int8", "streams": 2}
    return Outcome(SETUP, (heat,), (Standings(2.0, tuple(places)),), settings)
