"""A long recording in, "who spoke when" out: local speakers of short windows, their voices, clusters, turns, names."""
