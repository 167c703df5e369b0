"""Synthetic frontal chest radiographs with known truth: numpy and OpenCV, no patient, no network."""

from models.phantom.dicom import to_dataset, write_dicom
from models.phantom.export import write_phantoms
from models.phantom.lesions import FINDINGS
from models.phantom.radiograph import Phantom, draw_findings, generate

__all__ = ["FINDINGS", "Phantom", "draw_findings", "generate", "to_dataset", "write_dicom", "write_phantoms"]
