"""Runs the whole service on one machine: the embedded Redis-protocol server, the processes of the Procfile, the demo."""
