"""Inputs made by chance, for every reader of what strangers send; see `python -m tests.fuzz --help`."""
