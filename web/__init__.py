"""The Flask front end: takes requests, hands work to the queue, answers in JSON. It never imports the model."""

from web.app import create_app

__all__ = ["create_app"]
