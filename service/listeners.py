"""Listeners: where a server accepts connections, with which certificate, and how many at most."""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
import stat
from pathlib import Path

from retort.models.errors import StartError
from retort.service.settings import Settings

BACKLOG = 2048


def listen(settings: Settings, count: int = 1) -> list[socket.socket]:
    """Open what `count` processes need to share one place to listen.

    Of an address, a socket each, among which the kernel shares connections out; of a Unix socket,
    the same for all. Raises `StartError` if the place is in use or cannot be opened.
    """
    if settings.uds is not None:
        return [_listen_unix(settings.uds, int(settings.uds_mode, 8))] * count
    return _listen_tcp(settings.host, settings.port, count)


def close(listeners: list[socket.socket], settings: Settings) -> None:
    """Close them, and remove the Unix socket's file."""
    for listener in listeners:
        listener.close()
    if settings.uds is not None:
        settings.uds.unlink(missing_ok=True)


def place(listener: socket.socket, settings: Settings) -> str:
    """Where clients find it: a URL, or the path of a Unix socket."""
    if settings.uds is not None:
        return f"unix:{settings.uds}"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if settings.tls_cert is None else 'https'}://{shown}:{port}"


def raise_file_limit() -> None:
    """Let this process and its children open as many files as they are allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """What a server needs to speak TLS 1.2 or later. Raises `StartError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            f"tls_cert {cert} and tls_key {key} cannot be used: {error.strerror or error}"
        ) from None
    return context


def _listen_tcp(host: str, port: int, count: int) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # On `::`, IPv4 too.
    both = host == "::" and socket.has_dualstack_ipv6()
    opened: list[socket.socket] = []
    try:
        if count > 1:
            # Sockets that share a port would share it with another server of ours, too.
            with socket.create_server((host, port), family=family, dualstack_ipv6=both) as alone:
                port = alone.getsockname()[1]
        for _ in range(count):
            opened.append(
                socket.create_server(
                    (host, port),
                    family=family,
                    backlog=BACKLOG,
                    reuse_port=count > 1,
                    dualstack_ipv6=both,
                )
            )
    except OSError as error:
        for listener in opened:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is in use: stop what listens there, or choose another "
                "with --port or RETORT_PORT"
            ) from None
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return opened


def _listen_unix(path: Path, mode: int) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        # Nobody may connect before the permissions are set.
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {path}: {error.strerror or error}") from None
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that has ended. Raises `StartError` for anything else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartError(f"cannot listen on {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(found.st_mode):
        raise StartError(f"cannot listen on {path}: it is no socket; remove it, or choose another")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise StartError(f"cannot listen on {path}: {error.strerror}") from None
    raise StartError(f"{path} is in use: stop what listens there, or choose another with --uds")
