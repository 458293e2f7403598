"""Connections: those of one process, bounded in number, in time and in the bytes that they hold.

A connection waits in one of four places, the longest waiting first:

    fresh     it has sent no whole headers yet
    idle      its last request is answered, and nothing has come since
    heads     the same, but a part of the next headers has come
    bodies    a part of a body has come

or its request is being answered. Nothing is done per request but moving it from one place to
another: one look at all places every `SWEEP_SECONDS` finds what has waited for too long.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
from collections import Counter, OrderedDict
from ipaddress import ip_network
from time import monotonic
from typing import Protocol

from retort.service.errors import Busy, ServiceError, TooSlow, stopping
from retort.service.http.context import error_shape
from retort.service.http.refusals import error_body
from retort.service.metrics import Metrics
from retort.service.settings import UNIX, Settings

logger = logging.getLogger("retort")

# Longer than usual connection pools keep idle connections, or they would use half-closed ones.
KEEP_ALIVE_SECONDS = 75.0
SWEEP_SECONDS = 0.5
LOG_SECONDS = 1.0
# Files that a process opens besides connections: sockets of engines, bundles, metrics.
OTHER_FILES = 48
LEAST_CONNECTIONS = 8
# How many connections make room where no file can be opened any more.
ROOM = 16
# What is still read of a request that was refused, so that its client can read why.
LAST_BYTES = 262_144
LAST_SECONDS = 2.0
MOST_LAST = 32
RETRY_SECONDS = 1
# While the server drains, how long a body may still take to come.
LAST_BODY_SECONDS = 0.6


class Connection(Protocol):
    """What is known of a connection here."""

    transport: asyncio.Transport
    address: str
    place: Place | None
    # Bytes of the body that is coming.
    body_bytes: int

    def late(self, error: ServiceError) -> None:
        """The rest of its headers or its body has not come in time: answer with an error."""
        ...

    def cut(self) -> None:
        """Close it."""
        ...


class Place:
    """Connections that wait for the same thing, in the order in which they came to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._since: OrderedDict[Connection, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since)

    def add(self, connection: Connection, now: float) -> None:
        """Let it wait here, and nowhere else."""
        if connection.place is not None:
            del connection.place._since[connection]
        connection.place = self
        self._since[connection] = now

    def remove(self, connection: Connection) -> None:
        """It waits no longer."""
        del self._since[connection]
        connection.place = None

    def longest(self) -> Connection | None:
        """The one that waits longest."""
        return next(iter(self._since), None)

    def before(self, when: float) -> list[Connection]:
        """Those that have waited since before `when`."""
        found = []
        for connection, since in self._since.items():
            if since >= when:
                break
            found.append(connection)
        return found

    def late_bodies(self, now: float, seconds: float, rate: int) -> list[Connection]:
        """Those whose `body_bytes` took more than `seconds`, and what `rate` allows them."""
        return [
            connection
            for connection, since in self._since.items()
            if now - since > seconds + connection.body_bytes / rate
        ]


class Connections:
    """The connections of a process. Used from its event loop alone."""

    def __init__(self, settings: Settings, metrics: Metrics, draining: asyncio.Event) -> None:
        self.settings = settings
        self._draining = draining
        self._draining_since: float | None = None
        self.most = most_connections(settings.max_connections)
        self.fresh, self.idle = Place("silent"), Place("idle")
        self.heads, self.bodies = Place("half-sent headers"), Place("half-sent bodies")
        # Bytes of bodies that have come and are not answered yet.
        self.held = 0
        # How many are there only so that their clients can read the last answer.
        self.leaving = 0
        self._metrics = metrics
        self._trusted = [ip_network(n) for n in settings.trusted_proxies if n != UNIX]
        self._all: set[Connection] = set()
        self._of_address: Counter[str] = Counter()
        # Answers that wait to be read: how many bytes, and since when they are no more than that.
        self._unread: dict[Connection, tuple[int, float]] = {}
        self._told: Counter[str] = Counter()
        self._told_at = 0.0

    def enter(self, connection: Connection, now: float) -> None:
        """A new connection; raises `Busy` if there is no room for it."""
        self._all.add(connection)
        self.fresh.add(connection, now)
        if connection.address:
            self.begin(connection.address)
        if len(self._all) > self.most and not self._make_room(connection):
            self._told["refused: all others are busy"] += 1
            raise Busy(
                f"{self.most} connections are busy: come back after the seconds in Retry-After",
                retry_after=RETRY_SECONDS,
            )

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        if connection not in self._all:
            return
        self._all.remove(connection)
        self._unread.pop(connection, None)
        if connection.place is not None:
            connection.place.remove(connection)
        if connection.address:
            self.end(connection.address)

    def begin(self, address: str) -> None:
        """A connection of an address, or a request that a proxy forwards for it; `end` follows.

        Raises `Busy` if those are too many.
        """
        self._of_address[address] += 1
        most = self.settings.max_connections_per_address
        if self._of_address[address] > most and not self._trusts(address):
            self._told["refused: too many of one address"] += 1
            raise Busy(
                f"more than {most} connections of {address}: close some", retry_after=RETRY_SECONDS
            )

    def end(self, address: str) -> None:
        """What `begin` has begun is over."""
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    def refuse(self, path: str, error: ServiceError) -> bytes:
        """Count a request that reaches no route; the body of its answer."""
        self._metrics.count_request("other", error.status)
        self._metrics.rejected.labels(error.type).inc()
        own = path.removeprefix(self.settings.root_path or "")
        return error_body(error, error_shape(own))

    async def watch(self) -> None:
        """Close what has waited for too long, again and again."""
        skipped = False
        while True:
            expected = monotonic() + SWEEP_SECONDS
            await asyncio.sleep(SWEEP_SECONDS)
            now = monotonic()
            # What has come while the loop was held up is not read yet, and is nobody's fault.
            skipped = not skipped and now - expected > SWEEP_SECONDS
            if skipped:
                continue
            try:
                self.sweep(now)
            except Exception:
                logger.exception("connections could not be looked after")

    def sweep(self, now: float) -> None:
        """Close what has waited for too long, and log what was closed since the last line."""
        settings = self.settings
        head_limit = now - settings.header_seconds
        for place, limit in (
            (self.fresh, head_limit),
            (self.heads, head_limit),
            (self.idle, now - KEEP_ALIVE_SECONDS),
        ):
            for connection in place.before(limit):
                if place is not self.idle:
                    self._told[f"too slow: {place.name}"] += 1
                connection.late(_too_slow("headers", settings.header_seconds))
        rate = settings.min_bytes_per_second
        for connection in self.bodies.late_bodies(now, settings.body_seconds, rate):
            self._told[f"too slow: {self.bodies.name}"] += 1
            connection.late(_too_slow("body", settings.body_seconds))
        if self._draining.is_set():
            self._end_bodies(now)
        self._cut_unread(now)
        self._keep_files_free()
        self._log(now)

    def _end_bodies(self, now: float) -> None:
        """Turn away requests of which a part is missing still, though the server stops.

        One that has just come is no such request: its body may be in the next packet.
        """
        if self._draining_since is None:
            self._draining_since = now
        if now - self._draining_since > LAST_BODY_SECONDS:
            for connection in self.bodies.before(now - LAST_BODY_SECONDS):
                connection.late(stopping())

    def _cut_unread(self, now: float) -> None:
        """Cut off clients that do not read their answers."""
        unread: dict[Connection, tuple[int, float]] = {}
        late = []
        for connection in self._all:
            size = connection.transport.get_write_buffer_size()
            if not size:
                continue
            before, since = self._unread.get(connection, (0, now))
            if size > before:
                # Another answer.
                before, since = size, now
            unread[connection] = before, since
            allowed = before / self.settings.min_bytes_per_second
            if now - since > self.settings.answer_seconds + allowed:
                late.append(connection)
        self._unread = unread
        for connection in late:
            self._told["too slow: answers that are not read"] += 1
            connection.transport.abort()

    def _keep_files_free(self) -> None:
        """Make room if this process can open no more files: no connection could be accepted."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._told["no file can be opened: raise the limit (ulimit -n)"] += 1
            for _ in range(ROOM):
                if not self._make_room(None):
                    break

    def _make_room(self, newest: Connection | None) -> bool:
        """Close the connection that is missed least; False if all are busy."""
        for place in (self.fresh, self.idle, self.heads, self.bodies):
            connection = place.longest()
            if connection is not None and connection is not newest:
                self._told[f"closed to make room: {place.name}"] += 1
                connection.cut()
                return True
        return False

    def _trusts(self, address: str) -> bool:
        if not self._trusted:
            return False
        try:
            found = ip_network(address)
        except ValueError:
            return False
        return any(
            found.version == network.version and found.overlaps(network)
            for network in self._trusted
        )

    def _log(self, now: float) -> None:
        """Say at most once a second what was closed."""
        if not self._told or now - self._told_at < LOG_SECONDS:
            return
        self._told_at = now
        told = ", ".join(f"{count} {what}" for what, count in self._told.items())
        self._told.clear()
        logger.warning("connections: %d of at most %d; %s", len(self._all), self.most, told)


def most_connections(wanted: int) -> int:
    """`wanted` connections, or as many as the files allow that this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    opened = len(os.listdir("/dev/fd"))
    most = max(LEAST_CONNECTIONS, soft - opened - OTHER_FILES)
    if most < wanted:
        logger.warning(
            "this process may open %d files: at most %d connections, not the %d of "
            "max_connections; raise the limit (ulimit -n) for more",
            soft,
            most,
            wanted,
        )
    return min(wanted, most)


def address_of(host: str) -> str:
    """What a host's connections are counted by: its address, of IPv6 the network of 64 bits.

    >>> address_of("::ffff:10.1.2.3"), address_of("2001:db8:1:2:3::4")
    ('10.1.2.3', '2001:db8:1:2::/64')
    """
    host = plain(host)
    if ":" not in host:
        return host
    try:
        return str(ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        # A proxy may forward any word.
        return host


def plain(host: str) -> str:
    """An address without what a socket for both IPv4 and IPv6 puts before the former.

    >>> plain("::ffff:10.1.2.3"), plain("::1")
    ('10.1.2.3', '::1')
    """
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def _too_slow(what: str, seconds: float) -> TooSlow:
    """The error of a request that is late."""
    return TooSlow(f"the {what} did not come within {seconds:g} s: send faster")
