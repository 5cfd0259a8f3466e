"""What the Celery application promises."""

from unittest.mock import Mock

import pytest

from speaker_tasks import celery_app
from speaker_tasks.celery_app import (
    BLOCK_SECONDS,
    QUEUES,
    VISIBILITY_SECONDS,
    make_celery,
    redis_client,
    refuse_cluster,
)
from speaker_tasks.errors import ConfigurationError
from speaker_tasks.jobs import transport
from speaker_tasks.settings import Settings

SETTINGS = Settings(redis_url="redis://127.0.0.1:6379/0", concurrency=40)


def test_no_task_is_given_to_another_worker_while_it_runs() -> None:
    conf = make_celery(SETTINGS).conf
    assert conf.broker_transport_options["visibility_timeout"] == VISIBILITY_SECONDS
    assert conf.result_backend_transport_options["visibility_timeout"] == VISIBILITY_SECONDS
    assert SETTINGS.max_recording_seconds < VISIBILITY_SECONDS


def test_kombu_takes_the_options() -> None:
    transport = make_celery(SETTINGS).connection_for_read().transport
    of_transport = {"polling_interval"}
    options = set(make_celery(SETTINGS).conf.broker_transport_options)
    assert options - of_transport <= set(transport.Channel.from_transport_options)
    assert transport.brpop_timeout == BLOCK_SECONDS


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("speaker_tasks.identify", "recognize"),
        ("speaker_tasks.speaker", "recognize"),
        ("speaker_tasks.enroll", "enroll"),
        ("speaker_tasks.enroll_chunk", "enroll"),
    ],
)
def test_a_task_finds_its_queue_by_its_name(task: str, queue: str) -> None:
    assert make_celery(SETTINGS).amqp.router.route({}, task)["queue"].name == queue


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("redis://a", transport.Transport),
        ("rediss://a?ssl_cert_reqs=required", transport.Transport),
        ("rediss://a", transport.Transport),
        ("sentinel://a:26379;sentinel://b:26379", transport.SentinelTransport),
    ],
)
def test_each_kind_of_url_has_its_patient_transport(url: str, transport: type) -> None:
    connection = make_celery(Settings(redis_url=url)).connection_for_read()
    assert type(connection.transport) is transport
    assert bool(connection.ssl) == url.startswith("rediss"), "TLS is not lost on the way"


def test_the_module_has_the_application_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEAKER_REDIS_URL", "redis://elsewhere:1234/5")
    celery_app._app_of_environment.cache_clear()
    assert celery_app.app.conf.broker_url == "redis://elsewhere:1234/5"
    celery_app._app_of_environment.cache_clear()


def test_delivery_is_at_least_once_in_json_and_by_threads() -> None:
    conf = make_celery(SETTINGS).conf
    assert conf.task_acks_late
    assert conf.worker_prefetch_multiplier == 1
    assert conf.accept_content == conf.result_accept_content == ["json"]
    assert conf.task_serializer == conf.result_serializer == "json"
    assert conf.worker_pool == "threads"


def test_each_queue_has_a_binding_of_its_own() -> None:
    queues = make_celery(SETTINGS).conf.task_queues
    assert [(queue.name, queue.exchange.name, queue.routing_key) for queue in queues] == [(q, q, q) for q in QUEUES]


def test_pools_are_as_large_as_the_threads_need() -> None:
    assert make_celery(SETTINGS).conf.broker_transport_options["max_connections"] > 40
    assert redis_client(SETTINGS, connections=7).connection_pool.max_connections == 7


@pytest.mark.parametrize("url", [None, "", "http://localhost", "redis-cluster://a", "redis://host:port/0"])
def test_a_url_that_cannot_work_is_told(url: str | None) -> None:
    with pytest.raises(ConfigurationError):
        redis_client(Settings(redis_url=url))


def test_a_cluster_is_refused_in_one_line() -> None:
    node = Mock()
    node.info.return_value = {"cluster_enabled": 1}
    with pytest.raises(ConfigurationError, match="Redis Cluster") as raised:
        refuse_cluster(node)
    assert "\n" not in raised.value.message
    node.info.return_value = {"cluster_enabled": 0}
    refuse_cluster(node)


def test_sentinels_are_asked_for_their_master() -> None:
    settings = Settings(redis_url="sentinel://:pass%40word@a:26379/2;sentinel://b:26380", redis_master="voices")
    pool = redis_client(settings).connection_pool
    assert pool.service_name == "voices"
    hosts = [s.connection_pool.connection_kwargs for s in pool.sentinel_manager.sentinels]
    assert [(host["host"], host["port"]) for host in hosts] == [("a", 26379), ("b", 26380)]
    assert pool.connection_kwargs["db"] == 2
    assert pool.connection_kwargs["password"] == "pass@word"
    assert make_celery(settings).conf.broker_transport_options["master_name"] == "voices"
