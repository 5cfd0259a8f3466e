"""The client of the HTTP API for users' programs: httpx and nothing heavy."""
