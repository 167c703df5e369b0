"""Tables of labels as the field publishes them, each read into the same records."""

from __future__ import annotations

from models.training.errors import TrainingDataError
from models.training.layouts import chexpert, mimic, nih, plain
from models.training.layouts.records import NO_FINDING, UNCERTAIN, Listing, Record, columns_of
from models.training.plan import FolderSource

__all__ = ["NO_FINDING", "UNCERTAIN", "Listing", "Record", "layout_of", "read_listing"]


def layout_of(source: FolderSource) -> str:
    """The layout that the source names, or the one that the table's columns tell.

    Raises
    ------
    TrainingDataError
        The columns are of no known layout.
    """
    if source.layout != "auto":
        return source.layout
    try:
        columns = columns_of(source.table)
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise TrainingDataError(f"{source.table} cannot be read ({error}).") from error
    if not columns:
        raise TrainingDataError(f"{source.table} is empty.")
    signs = (
        ("nih", (nih.NAME, nih.LABELS)),
        ("mimic", ("subject_id", "study_id")),
        ("chexpert", ("Path",)),
        ("plain", (plain.NAME,)),
    )
    for layout, needed in signs:
        if all(name in columns for name in needed):
            return layout
    raise TrainingDataError(
        f"{source.table} has no column that names images: Image Index (NIH), Path (CheXpert), subject_id and study_id "
        f"(MIMIC) or file (plain); it has {', '.join(columns[:12])}."
    )


def read_listing(source: FolderSource, wanted: frozenset[str]) -> Listing:
    """All images of the table, whether or not their files exist.

    Raises
    ------
    TrainingDataError
        The table is not of its layout, has no rows, or a cell means nothing.
    """
    layout = layout_of(source)
    asked = {name for names in source.labels.values() for name in names}
    words = (
        wanted - source.labels.keys()
    ) | asked  # a finding's own name is no label of the table where others are given
    if layout == "mimic":
        listing = mimic.read(source.table, source.metadata_table, source.split_table)
    elif layout == "chexpert":
        listing = chexpert.read(source.table)
    elif layout == "nih":
        listing = nih.read(source.table, words)
    else:
        listing = plain.read(source.table, wanted, words)
    if not listing.records:
        raise TrainingDataError(f"{source.table} has a header and no rows.")
    return listing
