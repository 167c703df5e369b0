"""What can be wrong with the data of a training run, or with the run itself."""

from __future__ import annotations

from triage.errors import FirstreadError


class TrainingDataError(FirstreadError):
    """The table or the images of a training run do not fit together."""

    next_step = "Compare the CSV file with the layouts that `firstread models train --help` lists."


class LeakageError(TrainingDataError):
    """A patient or an image is on two sides of the split: figures of such a run would flatter it."""

    next_step = "Put every patient on one side: correct the lists, or let firstread draw the split."


class PlanError(FirstreadError):
    """A plan of a training run has an unknown key, a missing one or an impossible value."""

    next_step = "Compare the file with what `firstread models train --write-plan` prints."


class TrainingError(FirstreadError):
    """The run itself cannot go on: the loss is no number, the disk is full, the checkpoint is damaged."""

    next_step = "Correct what is named above and call the same command again: the run goes on from its checkpoint."
