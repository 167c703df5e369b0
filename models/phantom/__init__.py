"""Synthetic frontal chest radiographs with known truth: numpy and OpenCV, no patient, no network."""

from models.phantom.dicom import to_dataset, write_dicom
from models.phantom.export import write_phantoms
from models.phantom.lesions import FINDINGS
from models.phantom.radiograph import Phantom, generate

__all__ = ["FINDINGS", "Phantom", "generate", "to_dataset", "write_dicom", "write_phantoms"]
