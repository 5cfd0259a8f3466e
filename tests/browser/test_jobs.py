"""Jobs and health: what runs, what has ended, and who changed what."""

from __future__ import annotations

from playwright.sync_api import expect

from speaker_tasks.client import TaskClient
from tests.browser.conftest import Open


def test_jobs_workers_and_the_audit_log(open_page: Open, demo_bank: TaskClient) -> None:
    page = open_page("/jobs")
    expect(page.locator("#health")).to_contain_text("Ready")
    row = page.locator("#list tbody tr").first
    expect(row).to_contain_text("bank demo")
    expect(row).to_contain_text("32 of 32")
    expect(page.locator("#workers")).to_contain_text("openvino")
    expect(page.locator("#audit")).to_contain_text("32 recordings of 8 people")
    page.select_option("#state", "canceled")
    page.select_option("#kind", "compare")
    expect(page.locator("#list")).to_contain_text("No jobs.")


def test_a_dead_service_is_said_in_a_sentence(open_page: Open, demo_bank: TaskClient) -> None:
    page = open_page("/jobs")
    page.locator("#list tbody tr").first.wait_for()
    page.route(
        "**/v1/**", lambda route: route.fulfill(status=503, json={"error": {"code": "redis_away", "message": ""}})
    )
    page.select_option("#state", "failed")
    expect(page.get_by_role("alert")).to_contain_text("The Redis server does not answer. Wait some seconds")
