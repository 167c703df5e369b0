"""Orders from other systems: HL7 messages that arrive, and Modality Worklists that are asked."""
