"""A Ray cluster of several nodes, the ledger in PostgreSQL, a node lost in the middle."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import postgres
import pytest
from closed_form_world import World
from killing import workers_under
from test_search_ctrl_c import COMMAND, HERE, worked
from test_search_kill import until

from dilnas.ray_session import QUIET
from dilnas.search import search
from dilnas.search.events import Note, UnitDone

PAUSE = 1.0
"""Seconds that a rung takes: the node is lost in the middle of one."""


@pytest.fixture(scope="module")
def server():
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(server):
    """A head that trains nothing, where the driver is, and two nodes of one worker each."""
    os.environ.update(QUIET)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        cluster.nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        yield cluster
    finally:
        cluster.shutdown()


class Watch:
    """Keeps what the user is told; when the third unit is done, kills a node that is at work."""

    def __init__(self, run, cluster):
        self.run, self.cluster, self.units, self.notes = run, cluster, 0, []

    def __call__(self, event):
        if isinstance(event, Note):
            self.notes.append(event.text)
        if isinstance(event, UnitDone):
            self.units += 1
            if self.units == 3:
                threading.Thread(target=self.kill).start()

    def kill(self):
        while not (busy := self.busy()):
            time.sleep(0.02)
        workers = workers_under(busy[0].all_processes["raylet"][0].process.pid)
        self.cluster.remove_node(busy[0], allow_graceful=False)
        for pid in workers:  # a node that loses its power takes them with it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def busy(self):
        """Nodes of which a worker has just begun to train."""
        new = [
            path
            for path in self.run.glob("trials/*/at_work")
            if time.time() - path.stat().st_mtime < PAUSE / 4
        ]
        raylets = [parent(int(path.read_text() or 0)) for path in new]
        return [
            node
            for node in self.cluster.nodes
            if node.all_processes["raylet"][0].process.pid in raylets
        ]


def parent(pid):
    stat = Path(f"/proc/{pid}/stat")
    return int(stat.read_text().rsplit(") ", 1)[1].split()[1]) if stat.exists() else None


def test_a_node_lost_in_the_middle_loses_no_trial(tmp_path, server, cluster):
    """Driver and workers on different nodes; one of these is killed, its training begins again on
    the other: every candidate ends, none is worked on twice but what the node was at.
    """
    world = World(str(tmp_path / "log.txt"), pause=PAUSE)
    watch = Watch(tmp_path / "run", cluster)
    result = search(
        "smoke", trials=6, final_seeds=0, address=cluster.address, storage=server.url,
        out=str(tmp_path / "run"), evaluator=world, on_event=watch,
    )  # fmt: skip
    head = json.loads((tmp_path / "run" / "run.json").read_text())
    trials = optuna.load_study(study_name=head["study"], storage=server.url).trials
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED"}
    assert len(trials) == len(result.trials) == 6
    lost = [one for t in trials for one in t.user_attrs.get("lost", ())]
    assert [one["reason"] for one in lost] == [
        "the worker died: its node is gone or does not answer"
    ]
    assert sum("begun again" in note for note in watch.notes) == 1
    worked = collections.Counter((tmp_path / "log.txt").read_text().splitlines())
    assert max(worked.values()) == 1
    assert not (tmp_path / "run" / "study.db").exists()


@pytest.mark.slow
def test_a_head_that_is_lost_ends_the_command_with_a_word_and_loses_nothing(tmp_path):
    """Ray ends the process then; the same command, with another cluster, goes on."""
    os.environ.update(QUIET)
    from ray.cluster_utils import Cluster

    def command(address):
        words = ["search", "--space", "smoke", "--trials", "4", "--out", str(tmp_path / "run")]
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(HERE), str(tmp_path / "log.txt"), *words,
             "--address", address],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    for lost in (True, False):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            process = command(cluster.address)
            if lost:
                until(lambda: len(worked(tmp_path)) >= 2)
                cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
                said = process.communicate(timeout=120)[1]
                assert process.returncode and "Ray is gone" in said and "Traceback" not in said
            else:
                assert process.wait(300) == 0
        finally:
            process.kill()
            cluster.shutdown()
    counts = collections.Counter(worked(tmp_path))
    assert sum(count - 1 for count in counts.values()) <= 1
