"""`python -m speaker_tasks`: the command line, for whoever has an interpreter and no path to the program."""

from speaker_tasks.cli import main

main()
