"""The protocol of custody over the real code: random histories of deaths, losses and resends, and seeded errors."""
