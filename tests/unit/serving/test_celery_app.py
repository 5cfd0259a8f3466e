"""What the Celery application promises."""

from unittest.mock import Mock

import pytest

from speaker_tasks.celery_app import QUEUES, make_celery, redis_client, refuse_cluster
from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings

SETTINGS = Settings(redis_url="redis://127.0.0.1:6379/0", visibility_timeout=17, concurrency=40)


def test_the_visibility_timeout_stands_in_all_three_places() -> None:
    conf = make_celery(SETTINGS).conf
    assert conf.broker_transport_options["visibility_timeout"] == 17
    assert conf.result_backend_transport_options["visibility_timeout"] == 17
    assert conf.visibility_timeout == 17


def test_lost_tasks_are_looked_for_every_second() -> None:
    options = make_celery(SETTINGS).conf.broker_transport_options
    assert options["unacked_restore_interval"] * options["unacked_restore_throttle"] == 1
    assert options["unacked_mutex_expire"] < 17


def test_kombu_takes_the_options() -> None:
    channel = make_celery(SETTINGS).connection_for_read().transport.Channel
    assert set(make_celery(SETTINGS).conf.broker_transport_options) <= set(channel.from_transport_options)


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
