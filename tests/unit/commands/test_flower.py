"""Who gets at Flower where it asks for no password."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from speaker_tasks.commands import flower
from speaker_tasks.launcher.flower import TASKS
from speaker_tasks.settings import Settings


@contextmanager
def page(**given: object) -> Iterator[str]:
    """The page at a free port, without the part that asks the broker."""
    ready, state = threading.Event(), {}

    async def run() -> None:
        settings = Settings(redis_url="redis://127.0.0.1:1/0", **given)  # type: ignore[arg-type]
        sockets = bind_sockets(0, "127.0.0.1")
        server = HTTPServer(flower.made(settings))
        server.add_sockets(sockets)
        state.update(port=sockets[0].getsockname()[1], loop=asyncio.get_running_loop(), stop=asyncio.Event())
        ready.set()
        await state["stop"].wait()
        server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(20)
        yield f"http://127.0.0.1:{state['port']}"
    finally:
        state["loop"].call_soon_threadsafe(state["stop"].set)
        thread.join()


def status(url: str, method: str = "GET", path: str = "/healthcheck", **headers: str) -> int:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, url + path, headers=headers, timeout=10).status_code


def test_it_answers_to_this_machines_names_and_to_its_own_pages() -> None:
    with page() as url:
        own = url.removeprefix("http://")
        assert status(url) == 200
        assert status(url, Host="localhost:5555") == 200
        assert status(url, Host="rebound.example") == 403
        stop = "/api/worker/shutdown/x"
        assert status(url, "POST", stop, Origin="http://elsewhere.example") == 403
        assert status(url, "POST", stop, Origin="http://127.0.0.1:1") == 403, "another port is another page"
        assert status(url, "POST", stop, Sec_Fetch_Site="same-site") == 403
        assert status(url, "POST", stop, Origin=f"http://{own}") == 401, "Flower itself wants a login for its API"


@pytest.mark.parametrize("given", [{"open_to_all": True}])
def test_who_opens_it_names_it_as_they_like(given: dict[str, object]) -> None:
    with page(**given) as url:
        assert status(url, Host="watch.example") == 200


def test_its_address_is_its_own_setting_and_the_broker_has_a_kind_that_it_knows() -> None:
    settings = Settings(redis_url="redis://127.0.0.1:1/0", host="0.0.0.0")
    made = flower.made(settings)
    assert (made.options.address, made.options.max_tasks) == ("127.0.0.1", TASKS)
    assert made.capp.conf.broker_transport is None
