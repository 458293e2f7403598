"""`python -m retort` is the command `retort`."""

from retort.cli import main

main()
