"""All that speaks DICOM, on the wire and at rest."""
