"""How a result gets to a destination: one carrier per kind, all behind one protocol."""
