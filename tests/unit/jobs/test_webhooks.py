"""Where webhooks may go."""

from __future__ import annotations

import pytest

from speaker_tasks.jobs.webhooks import is_allowed

HOSTS = ("hooks.example", "10.0.0.5:8080", "[::1]:9000", "::2")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://hooks.example/done",
            "https://hooks.example:443/x?y",
            "http://HOOKS.example:80",
            "http://10.0.0.5:8080/",
        ),
        *("http://[::1]:9000/", "https://[::2]/"),
    ],
)
def test_hosts_of_the_list_at_their_ports(url: str) -> None:
    assert is_allowed(url, HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        *("http://hooks.example:6379/", "https://hooks.example:80/", "http://10.0.0.5/", "http://10.0.0.5:22/"),
        *("http://user:word@hooks.example/", "http://hooks.example@elsewhere.example/", "ftp://hooks.example/"),
        *(
            "http://elsewhere.example/",
            "http:///x",
            "http://hooks.example:99999/",
            "//hooks.example/",
            "http://[::1]/",
            "",
        ),
    ],
)
def test_nothing_else(url: str) -> None:
    assert not is_allowed(url, HOSTS)
