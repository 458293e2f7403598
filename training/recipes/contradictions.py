"""The rules for a pair that has several labels (`data/contradictions.py` says what they mean).

A module of its own, light enough for the command line's help.
"""

from typing import Literal

Contradictions = Literal["mean", "majority", "first", "refuse"]
