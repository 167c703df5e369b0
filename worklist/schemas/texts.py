"""What free text of a person may hold."""

from __future__ import annotations

from typing import Final

ONE_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
"""One line, in any script: no control characters, no line or paragraph separator, and none of the characters that turn
the order of what stands beside them (embeddings, overrides and isolates of UAX #9): a comment must not write another
name or time than the page."""
