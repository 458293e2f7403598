"""The names: what the command line calls the loads; it imports nothing, so that help is quick."""

from __future__ import annotations

from typing import Literal

LoadName = Literal["fixed", "real"]
Loads = Literal["both", "fixed", "real"]
