"""What `benchmarks/faults.py` is made of: the stack, its clients, and the faults."""
