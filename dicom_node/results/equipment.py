"""Who made a result object: the node as its equipment, the algorithm as contributing equipment.

IHE AIR 6.5.3.1 wants the algorithm in Contributing Equipment with a Device UID that changes when it is retrained.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_node.results.codes import ACQUISITION_EQUIPMENT, PROCESSING_EQUIPMENT, code_item
from dicom_node.results.identity import SourceHeader
from dicom_node.results.wording import LABEL, PRODUCT, plain
from triage.findings import Algorithm
from triage.identifiers import derive_uid


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeIdentity:
    """The installed node as a device (PS3.3 C.7.5.1 and C.7.5.2, PS3.16 TID 1004).

    Attributes
    ----------
    software_version : str
        Of firstread.
    name : str
        Name of this installation; Device Serial Number and Device Observer Name.
    device_uid : str
        One for the life of the installation; part of every derived UID, so two nodes never claim the same name.
    """

    software_version: str
    name: str
    device_uid: str
    manufacturer: str = PRODUCT
    model_name: str = PRODUCT


def algorithm_device_uid(algorithm: Algorithm) -> str:
    """Device UID (0018,1002) of an algorithm: another one for every name, version or set of weights."""
    return derive_uid("algorithm", algorithm.name, algorithm.version, algorithm.weights_sha256)


def put_equipment(
    target: Dataset, node: NodeIdentity, algorithm: Algorithm, source: SourceHeader, created_at: datetime
) -> None:
    """Set the Enhanced General Equipment and Contributing Equipment attributes of ``target``."""
    target.Manufacturer = plain(node.manufacturer, 64)
    target.ManufacturerModelName = plain(node.model_name, 64)
    target.DeviceSerialNumber = plain(node.name, 64)
    target.SoftwareVersions = plain(node.software_version, 64)
    target.ContentQualification = "RESEARCH" if algorithm.research else "PRODUCT"
    contributors = [_algorithm_item(algorithm, created_at)]
    if source.text("Manufacturer"):
        contributors.append(_acquisition_item(source))
    target.ContributingEquipmentSequence = contributors


def _algorithm_item(algorithm: Algorithm, created_at: datetime) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    item.Manufacturer = plain(algorithm.manufacturer, 64) or "unknown"
    item.ManufacturerModelName = plain(algorithm.name, 64)
    item.SoftwareVersions = plain(algorithm.version, 64)
    item.DeviceUID = algorithm_device_uid(algorithm)
    item.ContributionDateTime = created_at.strftime("%Y%m%d%H%M%S.%f%z")
    item.ContributionDescription = f"{LABEL}: analysis by {plain(algorithm.name)}"
    return item


def _acquisition_item(source: SourceHeader) -> Dataset:
    """The scanner that a result would otherwise no longer name, in its own bytes."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(ACQUISITION_EQUIPMENT)]
    for keyword in ("Manufacturer", "ManufacturerModelName", "StationName", "DeviceSerialNumber", "SoftwareVersions"):
        source.copy(keyword, item)
    item.set_original_encoding(False, True)
    return item
