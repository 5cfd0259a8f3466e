"""Runs the whole service on one machine: the embedded server, the processes of the Procfile, the demo."""
