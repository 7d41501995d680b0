"""`python -m rlreason`: the same as the `rlreason` command."""

from rlreason.cli import main

main()
