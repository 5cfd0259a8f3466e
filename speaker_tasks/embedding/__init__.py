"""Sound in, unit vector out. Knows nothing of Celery, Flask or Redis."""
