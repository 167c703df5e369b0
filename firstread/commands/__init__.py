"""Groups of commands: each is a few lines around a module of its own."""
