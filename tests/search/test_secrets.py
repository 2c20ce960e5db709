"""A password in a storage URL reaches the workers, and nobody else."""

import dataclasses

import pytest
from sqlalchemy import create_engine

from tsdiag.errors import TsdiagError, redact
from tsdiag.search import crew
from tsdiag.search.worker import Place
from tsdiag.store.database import Store

URL = "postgresql+psycopg://me:s3cret@db.example/studies"


@dataclasses.dataclass
class Fake:
    """A process that ends at once."""

    arguments: list
    env: dict
    code: int = 1

    def poll(self):
        return self.code


def test_workers_get_it_by_environment_only(monkeypatch, capfd):
    started = []

    def start(arguments, env, stderr, **_):
        stderr.write(b"cannot reach the server")
        started.append(Fake(arguments, env))
        return started[-1]

    monkeypatch.setattr(crew.subprocess, "Popen", start)
    store = Store(redact(URL), create_engine("sqlite://"))
    monkeypatch.setattr(Store, "full_url", property(lambda _: URL))
    with pytest.raises(TsdiagError) as refused, crew.Crew(store, "s", [Place(0, 1)]) as one:
        one.is_working()
    assert "cannot reach the server" in str(refused.value)
    assert started[0].env["TSDIAG_STORAGE"] == URL
    assert "s3cret" not in " ".join(started[0].arguments)
    assert "s3cret" not in str(refused.value) + "".join(capfd.readouterr())


def test_an_unreachable_database_is_named_without_it(command):
    url = "postgresql://me:s3cret@127.0.0.1:9/studies"
    for words in (["worker", "tiny", "--patience", "1s"], ["search", "study.toml"]):
        one = command(*words, TSDIAG_STORAGE=url)
        assert one.wait() != 0
        assert "s3cret" not in one.text


def test_the_search_prints_no_password(command, write_study):
    write_study()
    one = command(
        "search", "study.toml", "--traceback", "--storage", "mysql://me:s3cret@127.0.0.1:9/studies"
    )
    assert one.wait() != 0
    assert "s3cret" not in one.text
    assert "127.0.0.1" in one.text
