"""What stops an evaluation."""

from __future__ import annotations

from triage.errors import FirstreadError


class EvaluationError(FirstreadError):
    """The table, the images or the output folder of an evaluation cannot be used."""

    next_step = "Compare the CSV file and the folder with what `firstread models evaluate --help` asks for."


class LeakageError(EvaluationError):
    """The same patient or image stands on two sides that have to be apart."""

    next_step = "Take the named rows out of one of the two sides; a threshold must not be measured on its own patients."
