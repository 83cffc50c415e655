"""The database of a ledger: is it usable, how it is opened, and what to do while it is away.

A database that is locked by another program, or a server that is restarted, is waited for:
``PATIENCE_SECONDS``, with a note. A full disk, a damaged file or a wrong password is an error at
once. Every one is a RunError, one line, without the password; what was written stays written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dilnas.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PATIENCE_SECONDS", "Patience", "check_storage", "open_storage", "shown_url"]

PATIENCE_SECONDS = 60.0
"""How long a search waits for a database that is locked or away."""

RETRY_SECONDS = 1.0

CONNECT_SECONDS = 10
"""How long a database server may take to answer."""

SQLITE_SECONDS = 2.0
"""How long SQLite itself waits for a lock; beyond that we do."""

LOCKED = ("database is locked", "database table is locked")
"""What SQLite says while another program holds its file."""

KEEPALIVE = {
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}  # fmt: skip
"""libpq notices with these within half a minute that a server's machine is gone."""

T = TypeVar("T")


class Patience:
    """Calls that wait for a database that is away.

    Args:
        url: SQLAlchemy URL of the database, or a name for it.
        say: told when the waiting begins and when it is over.
    """

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        self._url = url
        self._say = say

    def __call__(self, call: Callable[[], T], *, again: Callable[[], T] | None = None) -> T:
        """What ``call`` returns; while the database is away, it or ``again`` is tried every second.

        ``again`` is for a call that must not happen twice: a connection may be lost after the
        database has done its part.

        Raises RunError after ``PATIENCE_SECONDS``, or at once when waiting would not help.
        """
        give_up: float | None = None
        while True:
            try:
                with storage_errors(self._url, "the ledger cannot be used"):
                    found = (call if give_up is None else again or call)()
            except RunError as error:
                now = time.monotonic()
                if not _is_away(error) or (give_up is not None and now >= give_up):
                    raise
                if give_up is None:
                    give_up = now + PATIENCE_SECONDS
                    self._say(f"{error}; trying for {PATIENCE_SECONDS:.0f} seconds")
                time.sleep(RETRY_SECONDS)
                continue
            if give_up is not None:
                self._say("the ledger answers again")
            return found


def _is_away(error: RunError) -> bool:
    """Whether the database behind ``error`` may be back soon."""
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__
    if not isinstance(cause, DBAPIError):
        return False
    if "sqlite3" in type(cause.orig).__module__:
        return any(text in str(cause.orig) for text in LOCKED)
    lost = isinstance(cause, OperationalError | InterfaceError) or cause.connection_invalidated
    return bool(lost) and "authentication" not in str(cause.orig)


def open_storage(url: str, say: Callable[[str], None], tries: int = 5) -> Any:
    """Optuna's storage at ``url``; waits for another process that creates its tables just now."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    def opened() -> Any:
        return optuna.storages.RDBStorage(url, _engine_options(url))

    for left in reversed(range(tries)):
        try:
            return Patience(url, say)(opened)
        except RunError as error:
            known = isinstance(error.__cause__, SQLAlchemyError) and "already exists" in str(error)
            if not left or not known:
                raise
        time.sleep(0.5)
    raise AssertionError("unreachable")


def _engine_options(url: str) -> dict[str, Any]:
    """SQLAlchemy's options: time-outs; and a connection that a server has closed is not used."""
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": SQLITE_SECONDS}}
    # What other drivers call these is not known here; they keep their own time-outs.
    known: dict[str, dict[str, Any]] = {
        "psycopg": {"connect_timeout": CONNECT_SECONDS, **KEEPALIVE},
        "psycopg2": {"connect_timeout": CONNECT_SECONDS, **KEEPALIVE},
        "mysqldb": {"connect_timeout": CONNECT_SECONDS},
        "pymysql": {"connect_timeout": CONNECT_SECONDS},
    }
    return {"pool_pre_ping": True, "connect_args": known.get(parsed.get_driver_name(), {})}


def shown_url(url: str) -> str:
    """``url`` without its password, for run.json and for messages."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):
        return "--storage"


def check_storage(url: str) -> None:
    """Raise RunError unless the database at ``url`` answers. Writes nothing."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.engine import make_url

    with storage_errors(url):
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            _check_sqlite(parsed.database or "")
        engine = create_engine(url, **_engine_options(url))
        try:
            inspect(engine).get_table_names()
        finally:
            engine.dispose()


def _check_sqlite(database: str) -> None:
    """A file that is or can be there; SQLAlchemy would make an empty one while looking."""
    folder = Path(database).parent
    if database in ("", ":memory:"):
        raise RuntimeError("a ledger in memory would be lost; name a file")
    if not folder.is_dir():
        raise RuntimeError(f"{folder} is no folder")
    if not Path(database).exists() and not os.access(folder, os.W_OK):
        raise RuntimeError(f"{folder} cannot be written")


@contextmanager
def storage_errors(url: str, rule: str = "the ledger's storage cannot be used") -> Iterator[None]:
    """Turn what SQLAlchemy and Optuna say about a storage into RunError."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, OptunaError, ImportError, RuntimeError, ValueError) as error:
        where = shown_url(url)
        text = _said(error).replace(url, where)
        raise RunError(f"{rule}: {text}", where=where) from error


def _said(error: BaseException) -> str:
    """The first line of what the database itself said, below Optuna's guesses about it."""
    from optuna.exceptions import StorageInternalError

    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0]
