"""The description is true: requests made from it, good and bad, get only answers that it tells of, and never a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from banks.active import ActiveMode
from banks.store import BankStore
from tests.integration.stack import Stack, Web

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUICK = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture(scope="module")
def api_schema(stack: Stack, shared_web: Web) -> Iterator[Any]:
    """The real service's own description; what the requests changed is undone."""
    yield schemathesis.openapi.from_url(shared_web.url + "/openapi.json")
    store = BankStore(stack.client().redis)
    ActiveMode(store).reset()
    for name in store.names():
        store.delete(name)


def test_every_answer_is_one_that_is_described(api_schema: Any) -> None:
    failures = {}
    for found in api_schema.get_all_operations():
        operation = found.ok()

        @QUICK
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            case.call_and_validate(checks=CHECKS, timeout=30)

        try:
            check()
        except Exception as failure:
            failures[operation.label] = failure
    assert not failures, "\n\n".join(f"{label}: {failure}" for label, failure in failures.items())


def test_sequences_of_requests_get_described_answers_too(api_schema: Any) -> None:
    machine = api_schema.as_state_machine()

    class Walk(machine):  # type: ignore[misc,valid-type]
        def validate_response(self, response: Any, case: Any, **options: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    Walk.run(
        settings=settings(
            max_examples=10,
            stateful_step_count=6,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
    )


def test_it_is_openapi_3_1_and_tells_of_each_error_with_an_example(shared_web: Web) -> None:
    described = shared_web.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert len(operations) > 20
    for operation in operations:
        assert operation["summary"], operation["operationId"]
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert answer["content"]["application/json"]["example"]["error"]["code"], operation["operationId"]


def test_the_page_needs_no_other_host(shared_web: Web) -> None:
    page = shared_web.get("/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace("/docs", "")
    for part in ("assets/js/swagger-ui-bundle.js", "assets/css/swagger-ui.css", "start.js"):
        assert f'"docs/{part}"' in page.text
        assert shared_web.get(f"/docs/{part}").status_code == 200
