"""The picture of Prometheus's graphs, for the documentation: a server and its teacher under load.

    python -m tests.docker.picture docs/prometheus.png --bundle retort-small --teacher teacher

Needs Debian's prometheus and chromium. Where there is `pngquant`, the file is made smaller. Take it
on a machine that does nothing else: the graphs show what is measured.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import httpx

from retort.loadtest.traffic import EXTRACT, fill_up, read_requests
from tests.docker.prometheus import Prometheus
from tests.service.browser import browser
from tests.service.picture import take
from tests.service.running import server

GRAPHS = (
    '{__name__=~"job:retort_speedup.*"}',
    "role_batch:retort_pair_seconds:mean5m",
    'version:retort_shadow_top1_agreement:ratio1h or retort_shadow_top1_agreement{job="retort"}',
    "histogram_quantile(0.95, sum by (le, stage) (rate(retort_stage_seconds_bucket[1m])))",
)
WIDTH = 1120


def send(url: str, stopped: threading.Event) -> None:
    """Send the extract's requests over and over, with quiet moments for the shadow."""
    requests = fill_up(read_requests(EXTRACT, passages=10), 10)
    with httpx.Client(base_url=url, timeout=60) as client:
        while True:
            for asked in requests:
                if stopped.wait(0.2):
                    return
                body = {"query": asked.query, "passages": list(asked.passages)}
                client.post("/score", json=body).raise_for_status()


def main() -> None:
    """Take the picture that the command line asks for."""
    parser = argparse.ArgumentParser(description="Take a picture of Prometheus's graphs.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--bundle", default="retort-small")
    parser.add_argument("--teacher", default="teacher")
    parser.add_argument("--seconds", type=int, default=300, help="how long to send requests")
    asked = parser.parse_args()
    stopped = threading.Event()
    graphs = {
        f"g{n}.{key}": value
        for n, query in enumerate(GRAPHS)
        for key, value in {"expr": query, "tab": 0, "range_input": f"{asked.seconds}s"}.items()
    }
    flags = ("--bundle", asked.bundle)
    with (
        tempfile.TemporaryDirectory() as folder,
        server(*flags, RETORT_TEACHER=asked.teacher, RETORT_SHADOW="1") as running,
        Prometheus(Path(folder), running.url.removeprefix("http://")) as prometheus,
    ):
        sending = threading.Thread(target=send, args=(running.url, stopped))
        sending.start()
        try:
            time.sleep(asked.seconds)
            with browser() as driver:
                driver.get(f"{prometheus.url}/graph?{urlencode(graphs)}")
                time.sleep(5)
                take(driver, asked.file, WIDTH)
        finally:
            stopped.set()
            sending.join()
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--ext=.png", str(asked.file)], check=True)


if __name__ == "__main__":
    main()
