"""Make a bundle from phantoms or from labelled radiographs of one's own. Needs torch."""

from models.training.errors import LeakageError, PlanError, TrainingDataError, TrainingError
from models.training.plan import (
    ArraysSource,
    Augmentation,
    Description,
    FindingPlan,
    FolderSource,
    PhantomSource,
    TrainingPlan,
)
from models.training.run import train

__all__ = [
    "ArraysSource",
    "Augmentation",
    "Description",
    "FindingPlan",
    "FolderSource",
    "LeakageError",
    "PhantomSource",
    "PlanError",
    "TrainingDataError",
    "TrainingError",
    "TrainingPlan",
    "train",
]
