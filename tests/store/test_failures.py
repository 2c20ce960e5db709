"""Which words of a driver say that the database is away for a while, and which that it is not."""

from __future__ import annotations

import socket
import sqlite3

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.servers import SERVERS
from tsdiag.store.failures import is_passing

SERVER = 'connection failed: connection to server at "pg-ssl-password" (10.0.0.7), port 5432 failed'
SOCKET = 'connection is bad: connection to server on socket "/run/ssl/.s.PGSQL.5432" failed'


def of(driver, *words):
    """Return an error of a driver as SQLAlchemy hands it on."""
    error = driver.OperationalError(*words)
    return DBAPIError.instance("", {}, error, driver.Error)


@pytest.mark.parametrize(
    ("words", "passing"),
    [
        # What a name is that belongs to a container which is stopped.
        ("failed to resolve host 'postgres': [Errno -2] Name or service not known", True),
        ("failed to resolve host 'certificate': [Errno -3] Temporary failure in name resol", True),
        ("connection timeout expired", True),
        (f"{SERVER}: Connection refused", True),
        (f"{SERVER}: FATAL:  the database system is starting up", True),
        (f"{SERVER}: FATAL:  the database system is not yet accepting connections", True),
        (f"{SERVER}: FATAL:  sorry, too many clients already", True),
        (f"{SERVER}: SSL SYSCALL error: EOF detected", True),
        (f"{SERVER}: SSL error: unexpected eof while reading", True),
        (f"{SERVER}: server closed the connection unexpectedly", True),
        (f"{SOCKET}: No such file or directory", True),
        ("consuming input failed: SSL SYSCALL error: Connection reset by peer", True),
        ("the connection is lost", True),
        # Both tries of a client: with TLS and, as that failed, without.
        (
            f"{SERVER}: FATAL:  sorry, too many clients already\n{SERVER}: FATAL:  no pg_hba.conf "
            'entry for host "10.0.0.8", user "me", database "db", no encryption',
            True,
        ),
        (f'{SERVER}: FATAL:  no pg_hba.conf entry for host "10.0.0.8", user "me"', False),
        (f'{SERVER}: FATAL:  password authentication failed for user "me"', False),
        ("connection failed: fe_sendauth: no password supplied", False),
        (f'{SERVER}: FATAL:  Peer authentication failed for user "me"', False),
        (f'{SERVER}: FATAL:  database "postgres" does not exist', False),
        (f'{SERVER}: FATAL:  role "me" does not exist', False),
        (f'{SERVER}: FATAL:  role "me" is not permitted to log in', False),
        (f'{SERVER}: FATAL:  permission denied for database "db"', False),
        (f"{SERVER}: server does not support SSL, but SSL was required", False),
        (f"{SERVER}: SSL error: certificate verify failed", False),
        (f"{SERVER}: SSL error: tlsv1 alert unknown ca", False),
        (f"{SOCKET}: Permission denied", False),
    ],
)
def test_of_postgresql_s_client(words, passing):
    assert is_passing(of(pytest.importorskip("psycopg"), words)) is passing


@pytest.mark.parametrize(
    ("state", "passing"),
    [
        ("25006", True),  # only to be read: it follows another
        ("57P01", True),
        ("53300", True),
        ("40001", True),
        ("08006", True),
        ("42P01", False),
        ("28P01", False),
        ("25001", False),
    ],
)
def test_of_a_postgresql_server(state, passing):
    psycopg = pytest.importorskip("psycopg")
    error = psycopg.errors.lookup(state)("cannot")
    assert is_passing(DBAPIError.instance("", {}, error, psycopg.Error)) is passing


@pytest.mark.parametrize(
    ("number", "words", "passing"),
    [
        (
            2003,
            "Can't connect to MySQL server on 'db' ([Errno -2] Name or service not known)",
            True,
        ),
        (2013, "Lost connection to MySQL server during query", True),
        (1040, "Too many connections", True),
        (1226, "User 'me' has exceeded the 'max_user_connections' resource", True),
        (1129, "Host 'db' is blocked because of many connection errors", True),
        (1290, "The MariaDB server is running with the --read-only option", True),
        (1836, "Running in read-only mode", True),
        (1047, "WSREP has not yet prepared node for application use", True),
        (1030, 'Got error 28 "No space left on device" from storage engine InnoDB', True),
        (1045, "Access denied for user 'me'@'localhost' (using password: YES)", False),
        (1049, "Unknown database 'db'", False),
        (1146, "Table 'db.tsdiag_runs' doesn't exist", False),
    ],
)
def test_of_mysql_and_mariadb(number, words, passing):
    assert is_passing(of(pytest.importorskip("pymysql"), number, words)) is passing


@pytest.mark.parametrize(
    ("words", "passing"),
    [
        ("database is locked", True),
        ("database or disk is full", True),
        ("disk I/O error", True),
        ("no such table: tsdiag_runs", False),
        ("unable to open database file", False),
        ("attempt to write a readonly database", False),
    ],
)
def test_of_sqlite(words, passing):
    assert is_passing(of(sqlite3, words)) is passing


def refusal(url):
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 5})
    with pytest.raises(DBAPIError) as caught, engine.connect():
        pass
    return caught.value


@pytest.mark.parametrize("kind", SERVERS)
def test_what_a_server_says_and_what_is_said_in_its_absence(server_url, kind):
    real = make_url(server_url(kind))
    with socket.socket() as free:  # bound, but nobody listens
        free.bind(("127.0.0.1", 0))
        assert is_passing(refusal(real.set(host="127.0.0.1", port=free.getsockname()[1])))
    assert is_passing(refusal(real.set(host="pg-ssl.invalid")))
    assert not is_passing(refusal(real.set(database="nowhere")))
    assert not is_passing(refusal(real.set(username="nobody", password="s3cret")))


def test_of_a_socket_of_tls_and_of_what_may_only_be_read(server_url, tmp_path):
    real = make_url(server_url("postgresql"))
    assert is_passing(refusal(real.set(host=None).update_query_dict({"host": str(tmp_path)})))
    for wrong in ({"sslmode": "require"}, {"sslmode": "sometimes"}, {"sslrootcert": "/nowhere"}):
        asked = {"sslmode": "verify-full"} | wrong
        assert not is_passing(refusal(real.update_query_dict(asked))), wrong
    engine = create_engine(real, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(DBAPIError) as caught:
            connection.execute(text("CREATE TABLE others (x INTEGER)"))
    assert is_passing(caught.value)
