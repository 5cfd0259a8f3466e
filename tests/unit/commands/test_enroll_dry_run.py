"""What `speaker-tasks enroll` says of the others when a part of the source cannot be enrolled."""

from __future__ import annotations

import pytest

from speaker_tasks.commands.enroll import refuse
from speaker_tasks.errors import Unusable
from speaker_tasks.jobs import JobRecord


@pytest.mark.parametrize(("dry_run", "rest"), [(True, "the rest would be enrolled"), (False, "the rest is enrolled")])
def test_a_dry_run_does_not_claim_that_the_rest_is_enrolled(dry_run: bool, rest: str) -> None:
    job = JobRecord("1", "enroll", "partial", result={"dry_run": dry_run})
    with pytest.raises(Unusable, match=f"1 missing; {rest}$"):
        refuse(job, [{"outcome": "missing"}, {"outcome": "enrolled"}])


@pytest.mark.parametrize(("dry_run", "others"), [(True, "would be enrolled"), (False, "are enrolled")])
def test_a_dry_run_does_not_claim_that_the_other_speakers_are_enrolled(dry_run: bool, others: str) -> None:
    job = JobRecord("1", "enroll", "partial", result={"dry_run": dry_run, "speakers_without": ["Ann"]})
    with pytest.raises(Unusable, match=f"Ann; the others {others}$"):
        refuse(job)
