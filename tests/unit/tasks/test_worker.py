"""What a worker decides before and while it runs."""

import sys

import pytest

from speaker_tasks.embedding.batcher import Metrics
from speaker_tasks.errors import ConfigurationError
from speaker_tasks.tasks.housekeeping import Stall
from speaker_tasks.worker import FRAMEWORKS, MASK, pin_gpu, visible_device


@pytest.mark.parametrize(
    ("gpu", "inherited", "seen"),
    [(0, None, "0"), (3, None, "3"), (0, "2,5", "2"), (1, "2,5", "5"), (1, "GPU-aa, GPU-bb", "GPU-bb"), (0, "7", "7")],
)
def test_a_gpu_is_counted_among_those_that_an_inherited_mask_shows(gpu: int, inherited: str | None, seen: str) -> None:
    assert visible_device(gpu, inherited) == seen


@pytest.mark.parametrize(("gpu", "inherited"), [(2, "2,5"), (0, ""), (0, "-1"), (-1, None)])
def test_a_gpu_that_the_mask_hides_is_refused(gpu: int, inherited: str | None) -> None:
    with pytest.raises(ConfigurationError):
        visible_device(gpu, inherited)


@pytest.fixture
def no_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FRAMEWORKS:
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("no_framework")
class TestPinning:
    def test_the_mask_is_set_for_one_gpu(self) -> None:
        environ = {MASK: "2,5"}
        pin_gpu(environ, 1, "gpu")
        assert environ[MASK] == "5"

    def test_on_the_cpu_all_gpus_are_hidden(self) -> None:
        environ: dict[str, str] = {}
        pin_gpu(environ, None, "cpu")
        assert environ[MASK] == "-1"

    def test_without_a_choice_the_mask_stays(self) -> None:
        environ = {MASK: "2,5"}
        pin_gpu(environ, None, "auto")
        assert environ == {MASK: "2,5"}

    def test_a_gpu_and_the_cpu_contradict_each_other(self) -> None:
        with pytest.raises(ConfigurationError, match="contradicts"):
            pin_gpu({}, 0, "cpu")

    def test_after_the_framework_it_is_too_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorflow", sys)
        with pytest.raises(ConfigurationError, match="tensorflow"):
            pin_gpu({}, 0, "auto")


class TestStall:
    def test_an_idle_model_is_not_stalled(self) -> None:
        stall = Stall(10)
        assert not any(stall.seen(Metrics(batches=5), now) for now in (0, 100, 1000))

    def test_a_model_that_finishes_batches_is_not_stalled(self) -> None:
        stall = Stall(10)
        assert not any(stall.seen(Metrics(batches=n, running_for=9, waiting=3), 9 * n) for n in range(5))

    def test_a_call_that_never_ends_is(self) -> None:
        stall = Stall(10)
        looks = [stall.seen(Metrics(batches=5, running_for=now or 0.1), now) for now in (0, 5, 9, 11)]
        assert looks == [False, False, False, True]

    def test_so_is_a_queue_that_nobody_takes_from(self) -> None:
        stall = Stall(10)
        looks = [stall.seen(Metrics(batches=5, waiting=1), now) for now in (0, 9, 11)]
        assert looks == [False, False, True]
