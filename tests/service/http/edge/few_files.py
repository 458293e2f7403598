"""`retort` in a process that may open as many files as the variable `FILES` says."""

from __future__ import annotations

import os
import resource

from retort.cli import main

if __name__ == "__main__":
    most = int(os.environ["FILES"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    main()
