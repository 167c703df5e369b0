"""``python -m firstread``: the same as the command ``firstread``."""

from firstread.cli import main

main()
