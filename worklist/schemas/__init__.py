"""What the API takes and says, a module per subject."""
