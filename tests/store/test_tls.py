"""TLS to MySQL and MariaDB: as PyMySQL has it, and prepared once."""

from __future__ import annotations

import ssl
from pathlib import Path

import botocore
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tests.servers import new_database
from tsdiag.store.database import open_store
from tsdiag.store.tls import _connection_class, share_context


def context_of(engine):
    with engine.connect() as connection:
        return connection.connection.dbapi_connection.ctx


@pytest.fixture
def url():
    with new_database("mysql") as found:
        yield found


def test_connections_share_one_context_of_the_driver_s_own_kind(url):
    plain = context_of(create_engine(url, poolclass=NullPool))
    store = open_store(url.render_as_string(hide_password=False))
    shared = [context_of(store.engine) for _ in range(2)]
    assert shared[0] is shared[1]
    assert (plain.verify_mode, plain.check_hostname) == (ssl.CERT_NONE, False)
    assert (shared[0].verify_mode, shared[0].check_hostname) == (ssl.CERT_NONE, False)


def test_certificates_that_an_option_file_names_are_checked_by(tmp_path):
    pymysql = pytest.importorskip("pymysql")
    file = tmp_path / "my.cnf"
    known = Path(botocore.__file__).with_name("cacert.pem")  # any certificates do
    file.write_text(f"[client]\nssl-ca = {known}\n")
    connect = _connection_class(pymysql)
    asked = connect(defer_connect=True, read_default_file=str(file))
    assert (asked.ctx.verify_mode, asked._ssl_required) == (ssl.CERT_REQUIRED, True)
    assert connect(defer_connect=True).ctx.verify_mode == ssl.CERT_NONE


def test_what_the_url_says_of_tls_holds(url):
    engine = create_engine(url.update_query_dict({"ssl_disabled": "true"}), poolclass=NullPool)
    share_context(engine)
    with engine.connect() as connection:
        assert not connection.connection.dbapi_connection.ssl
