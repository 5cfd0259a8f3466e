"""`speaker-tasks flower`: the web page that shows workers and tasks, on this machine and for its own pages alone."""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

from speaker_tasks.commands.edge import connected_settings
from speaker_tasks.settings import Settings

if TYPE_CHECKING:
    from tornado.web import Application


def flower() -> None:
    """Run Flower, the web page that shows workers and tasks."""
    settings = connected_settings()
    page = made(settings)
    # Connections that Flower drops are no news.
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    page.start_http_server()
    try:
        page.start()
    except (KeyboardInterrupt, SystemExit):
        page.stop()


def made(settings: Settings) -> Any:
    """Flower's application, not yet started.

    Without a password it listens on a loopback address. Then it refuses requests whose `Host` is not an address or
    localhost, and changes that its own pages did not send: a page of another site cannot use it through a browser.
    Variables `FLOWER_*` have no effect.
    """
    from flower.app import Flower
    from flower.command import apply_options, extract_settings
    from flower.options import options
    from flower.urls import settings as own_settings

    from speaker_tasks.addresses import is_public
    from speaker_tasks.celery_app import make_celery
    from speaker_tasks.launcher.flower import arguments, users

    # At its start no worker answers yet, of which it would write four warnings.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    apply_options("flower", arguments(settings))
    extract_settings()
    app = make_celery(settings)
    app.conf.broker_transport = None  # Flower tells the kind of broker by the scheme of its URL
    is_guarded = not (users(settings) or settings.open_to_all or is_public(settings.flower_host))

    class Guarded(Flower):
        """Flower that checks `Host` and the origin of changes."""

        def find_handler(self, request: Any, **kwargs: Any) -> Any:
            """Flower's handler, or one that refuses."""
            if is_guarded and is_foreign(request):
                return refusal(self, request)
            return super().find_handler(request, **kwargs)

    return Guarded(capp=app, options=options, **own_settings)


def is_foreign(request: Any) -> bool:
    """Whether the request's `Host` is another name, or it is a change that a page of another site sent."""
    from speaker_tasks.addresses import is_own_name
    from web.http.security import READING

    host, origin = request.headers.get("Host", ""), request.headers.get("Origin", "").lower()
    if not is_own_name(host):
        return True
    if request.method in READING:
        return False
    own = not origin or origin in (f"http://{host.lower()}", f"https://{host.lower()}")
    return not own or request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")


def refusal(application: Application, request: Any) -> Any:
    """A handler that answers 403."""
    from tornado.web import ErrorHandler

    return application.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
