"""The door: the command line, the one-process start, the demonstration, the doctor."""
