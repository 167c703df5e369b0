"""Synthetic frontal chest radiographs and head CTs with known truth: numpy and OpenCV, no patient, no network."""

from models.phantom.dicom import to_dataset, write_dicom
from models.phantom.export import write_phantoms
from models.phantom.head_ct import HeadCt, generate_head_ct
from models.phantom.head_dicom import to_datasets
from models.phantom.head_export import write_head_cts
from models.phantom.lesions import FINDINGS
from models.phantom.radiograph import Phantom, draw_findings, generate

__all__ = [
    "FINDINGS",
    "HeadCt",
    "Phantom",
    "draw_findings",
    "generate",
    "generate_head_ct",
    "to_dataset",
    "to_datasets",
    "write_dicom",
    "write_head_cts",
    "write_phantoms",
]
