"""What every request passes: keys, limits, bodies, errors, idempotency."""
