"""A PostgreSQL server of a test's own: on the loopback, in a folder that goes with it."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

OLD = "/usr/lib/postgresql"


def missing():
    """Why no server can be started here; empty if one can."""
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "psycopg2 is not installed"
    if not (program("initdb") and program("pg_ctl")):
        return "PostgreSQL is not installed"
    if os.geteuid() == 0 and not (shutil.which("setpriv") and user()):
        return "PostgreSQL does not run as root, and there is no other user to run it"
    return ""


def program(name):
    """Path of one of PostgreSQL's programs; Debian keeps them out of the PATH."""
    versions = sorted(Path(OLD).glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return shutil.which(name) or (str(versions[-1]) if versions else None)


def user():
    """Entry of an unprivileged user, if there is one."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


@contextlib.contextmanager
def running():
    """A server while the block runs; where there can be none, the test is skipped and says why."""
    if why := missing():
        pytest.skip(why)
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


class Server:
    """A server with an empty database; stopped and started as a test likes."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="dilnas-postgres-"))
        self._as = []
        if os.geteuid() == 0:
            who = user()
            shutil.chown(self.folder, who.pw_uid, who.pw_gid)
            self._as = [
                "setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups",
            ]  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._call(
            "initdb", "-D", self.data, "-U", "dilnas", "-A", "trust", "-E", "UTF8", "--no-sync"
        )
        self.url = f"postgresql+psycopg2://dilnas@127.0.0.1:{self.port}/postgres"

    @property
    def data(self):
        return str(self.folder / "data")

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._call(
            "pg_ctl", "-D", self.data, "-w", "-l", self.data + "/log", "-o", options, "start"
        )

    def stop(self):
        """As a crash ends it: clients lose their connections in the middle of whatever they do."""
        self._call("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def remove(self):
        subprocess.run(
            [*self._as, program("pg_ctl"), "-D", self.data, "-m", "immediate", "stop"],
            capture_output=True, cwd="/", check=False,
        )  # fmt: skip
        shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, name, *arguments):
        done = subprocess.run(
            [*self._as, program(name), *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
