"""Drivers and workers killed at random moments: the rules that nothing may break."""

import random

import pytest
from killing import Killer, fork_server, trials

from dilnas.ray_session import ray_session


@pytest.fixture(scope="module")
def cluster():
    """A Ray that outlives the drivers, so that killed ones leave nothing: forks for its drivers,
    its address, its raylet.
    """
    with ray_session(3):
        import ray

        node = ray._private.worker.global_worker.node
        yield fork_server(), node.address, node.all_processes["raylet"][0].process.pid


def kill(folder, cluster, *, seed, workers, number, wanted, share, finals=1):
    dice = random.Random(seed)
    killer = Killer(folder, *cluster, dice, workers, number, wanted, share, finals)
    killer.run()
    killer.check()
    assert killer.hit.total() == wanted
    return killer


def test_killed_at_thirty_random_moments(tmp_path, cluster):
    """Driver or worker, in the middle of whatever it does: no finished rung is lost or worked on
    again, no trial stays RUNNING, a candidate goes on or has failed with the reason, and the search
    ends whole.
    """
    killer = kill(tmp_path, cluster, seed=5, workers=2, number=24, wanted=30, share=0.4, finals=0)
    assert min(killer.hit["driver"], killer.hit["worker"]) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_fifty_random_moments(tmp_path, cluster, seed):
    """The same, 250 moments in all."""
    kill(tmp_path, cluster, seed=100 + seed, workers=1 + seed % 3, number=40, wanted=50, share=0.4)


@pytest.mark.slow
def test_with_one_worker_a_killed_search_is_that_which_was_left_alone(tmp_path, cluster):
    """After 20 kills of the driver: the same candidates, the same scores, in the same order."""
    killer = kill(tmp_path / "killed", cluster, seed=9, workers=1, number=30, wanted=20, share=1.0)
    kill(tmp_path / "alone", cluster, seed=9, workers=1, number=killer.trials, wanted=0, share=1.0)
    one, other = (
        [
            (t.params, t.state, t.values, [s["accuracy"] for s in t.user_attrs.get("scores", ())])
            for t in trials(tmp_path / name)
        ]
        for name in ("killed", "alone")
    )
    assert one == other
