"""The application for a WSGI server: `gunicorn web.wsgi:app`."""

import logging
import sys

from speaker_tasks.errors import SpeakerTasksError
from web import memory
from web.app import create_app

REFUSED = 4
"""gunicorn stops at a worker that exits so, instead of starting it again and again."""

memory.settle()
try:
    app = create_app()
except SpeakerTasksError as error:
    logging.getLogger("gunicorn.error").critical("the service does not start: %s", error)
    sys.exit(REFUSED)
