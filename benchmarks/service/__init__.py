"""The parts of `benchmarks/serving.py`: clips, clients, servers, and what is made of their figures."""
