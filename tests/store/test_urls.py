from __future__ import annotations

import pytest

from tsdiag.errors import StoreError, redact
from tsdiag.store.database import open_store
from tsdiag.store.urls import normalise, parse

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("sqlite:////srv/a:b@c/x.db", "sqlite:////srv/a:b@c/x.db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:s3cret@host:5/db", "postgresql://me:***@host:5/db"),
        ("postgresql://me:s3@cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:s3/c?r#et@host/db", "postgresql://me:***@host/db"),
        ("mysql://:s3cret@host/db", "mysql://:***@host/db"),
        ("mysql://host/db?password=s3cret&x=1", "mysql://host/db?password=***&x=1"),
        ("mysql://host/db?x=1&sslPassword=s3cret", "mysql://host/db?x=1&sslPassword=***"),
    ],
)
def test_passwords_are_hidden_and_the_rest_is_not(url, shown):
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///a.db", "sqlite"),
        ("postgresql://h/db", "postgresql+psycopg"),
        ("postgres://h/db", "postgresql+psycopg"),
        ("postgresql+psycopg2://h/db", "postgresql+psycopg2"),
        ("mysql://h/db", "mysql+pymysql"),
        ("mariadb://h/db", "mysql+pymysql"),
        ("mariadb+pymysql://h/db", "mysql+pymysql"),
    ],
)
def test_a_database_gets_the_driver_that_is_installed_with_it(url, driver):
    assert normalise(url) == f"{driver}://{url.partition('://')[2]}"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("tsdiag.db", ["not a URL", "sqlite:///tsdiag.db"]),
        ("oracle://me:s3cret@h/db", ['"oracle"', "supported are sqlite"]),
        ("postgresql://me:s3cret@h:port/db", ["cannot be read", "postgresql://USER"]),
        ("postgresql://me:s3@s3cret@h/db", ["more than one @", "%40"]),
        ("postgresql://me:s3cret@h", ["names no database", "add one"]),
        ("sqlite://", ["names no database", "sqlite:///tsdiag.db"]),
        ("sqlite:///:memory:", ["several processes", "sqlite:///tsdiag.db"]),
    ],
)
def test_what_cannot_be_opened_is_refused_without_its_password(url, parts):
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert all(part in str(caught.value) for part in parts)
    assert SECRET not in str(caught.value)


def test_a_relative_file_is_meant_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_store("sqlite:///here.db")
    assert (tmp_path / "here.db").exists()
    assert parse("sqlite:///here.db").database == "here.db"
