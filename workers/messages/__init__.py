"""Results in the words of systems that speak no DICOM: HL7 v2, FHIR R4, JSON.

Pure: a :class:`~workers.messages.statement.Statement` and options go in, bytes come out. No network, no database, no
clock; the same arguments give the same bytes, so that a retry sends what was sent before.
"""
