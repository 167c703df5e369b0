"""What this node answers over DICOMweb (PS3.18): its reading list as workitems, read-only."""
