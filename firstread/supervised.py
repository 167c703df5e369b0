"""``python -m firstread.supervised PID ...``: a part that ends when its supervisor does, however that ends.

A supervisor that is killed runs no ``finally``: without this its parts would go on as orphans that hold ports and
database, and the next ``firstread up`` on the same directory could not start.
"""

from __future__ import annotations

import sys

from firstread.cli import main
from firstread.lifeline import end_with

if __name__ == "__main__":
    end_with(int(sys.argv.pop(1)))
    main()
