"""Downloads from a real server: resumed, checked, never half there."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from retort.training.data.fetch import download as downloading
from retort.training.data.fetch.download import DownloadError, download, fetch, held
from retort.training.data.fetch.origins import Origin, RemoteFile, Wanted

CONTENT = b"question\tsentence\t1\n" * 5_000


@dataclass
class Site:
    """A server of files; it may break off after so many bytes, or know no ranges."""

    files: dict[str, bytes]
    address: str = ""
    break_after: int | None = None
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site({"a.tsv": CONTENT})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            found.asked.append(wanted)
            content = found.files.get(self.path.lstrip("/"))
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if wanted and found.ranges and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            start = start if found.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            self.wfile.write(body if found.break_after is None else body[: found.break_after])

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def remote(site: Site, name: str = "a.tsv", content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile(site.url(name), name, hashlib.sha256(content).hexdigest())


def test_a_broken_download_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.break_after = 40_000
    path = download(remote(site), tmp_path)
    assert path.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=40000-", "bytes=80000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tsv"]


def test_what_a_failed_try_left_is_kept_for_the_next(site: Site, tmp_path: Path) -> None:
    site.break_after = 10
    with pytest.raises(DownloadError, match="a second try goes on there"):
        download(remote(site), tmp_path)
    assert not (tmp_path / "a.tsv").exists()
    site.break_after = None
    assert download(remote(site), tmp_path).read_bytes() == CONTENT
    assert site.asked[-1] == "bytes=30-"


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.tsv.part").write_bytes(CONTENT[:100])
    site.ranges = False
    assert download(remote(site), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.tsv.part").write_bytes(CONTENT)
    assert download(remote(site), tmp_path).read_bytes() == CONTENT
    assert len(site.asked) == 1


def test_a_part_of_another_file_is_dropped(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.tsv.part").write_bytes(CONTENT + b"more")
    assert download(remote(site), tmp_path).read_bytes() == CONTENT
    (tmp_path / "a.tsv.part").write_bytes(b"x" * 10)
    with pytest.raises(DownloadError, match=r"its sha256 is .*, expected .* Nothing was kept"):
        download(remote(site), tmp_path)
    assert not (tmp_path / "a.tsv.part").exists()


def test_a_file_that_is_not_there_is_told_at_once(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="404"):
        download(remote(site, "b.tsv"), tmp_path)
    assert len(site.asked) == 1


def test_no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "ATTEMPTS", 1)
    with pytest.raises(DownloadError, match="cannot be downloaded"):
        download(RemoteFile("http://127.0.0.1:9/a", "a"), tmp_path)


def test_a_member_of_a_zip_is_unpacked(site: Site, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr("QNLI/dev.tsv", CONTENT)
    site.files["all.zip"] = packed.getvalue()
    file = RemoteFile(site.url("all.zip"), "dev.tsv", member="QNLI/dev.tsv")
    assert download(file, tmp_path).read_bytes() == CONTENT
    lacking = RemoteFile(site.url("all.zip"), "x.tsv", member="QNLI/x.tsv")
    with pytest.raises(DownloadError, match=r"no zip that holds QNLI/x\.tsv"):
        download(lacking, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["dev.tsv"]


def test_what_is_there_is_left_as_it_is_gzipped_or_not(site: Site, tmp_path: Path) -> None:
    item = Wanted("s", "folder", "MIT", Origin("page", (remote(site),)))
    folder = tmp_path / "folder"
    said: list[str] = []
    assert fetch(item, tmp_path, said.append) == [folder / "a.tsv"]
    assert fetch(item, tmp_path, said.append) == []
    assert (len(said), len(site.asked)) == (1, 1)
    (folder / "a.tsv.gz").write_bytes(gzip.compress(CONTENT))
    (folder / "a.tsv").unlink()
    assert held(folder, remote(site)) == folder / "a.tsv.gz"
    (folder / "a.tsv").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="not the published file"):
        fetch(item, tmp_path, said.append)
    assert (folder / "a.tsv").read_bytes() == b"mine"
