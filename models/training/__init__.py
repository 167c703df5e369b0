"""Make a bundle from phantoms or from a folder of labelled radiographs. Needs torch."""

from models.training.plan import Description, FindingPlan, FolderSource, PhantomSource, TrainingPlan
from models.training.run import train

__all__ = ["Description", "FindingPlan", "FolderSource", "PhantomSource", "TrainingPlan", "train"]
