"""An S3 bucket as the place of artifacts: opened at once or refused in words, and told nothing."""

from __future__ import annotations

import sys
import traceback

import boto3
import pytest

from tests.buckets import answering
from tsdiag.errors import StoreError, Unreachable
from tsdiag.runs.artifacts import write_bytes
from tsdiag.search import bucket as module
from tsdiag.search.artifacts import FOLDER, artifact_store
from tsdiag.store.database import open_store
from tsdiag.store.patience import Patience

SECRET = "s3cret"
EMPTY = "<ListBucketResult><Name>tsdiag</Name><KeyCount>0</KeyCount></ListBucketResult>"


def error(code, message="No."):
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"


@pytest.fixture
def refused(bucket, store, monkeypatch):
    """Return the complaint about a bucket in an environment with changes."""

    def of(place=bucket, kind=StoreError, **changes):
        monkeypatch.setenv("TSDIAG_ARTIFACTS", place)
        for name, value in changes.items():
            if value is None:
                monkeypatch.delenv(name)
            else:
                monkeypatch.setenv(name, value)
        with pytest.raises(StoreError) as told:
            artifact_store(store)
        assert told.type is kind
        assert SECRET not in "".join(traceback.format_exception(told.value))
        return str(told.value)

    return of


def test_a_prefix_keeps_two_apart_in_one_bucket(bucket, store, monkeypatch, tmp_path):
    for prefix in ("/a", "/a/b/", "/a.b=c", "", "/"):
        monkeypatch.setenv("TSDIAG_ARTIFACTS", bucket + prefix)
        write_bytes(artifact_store(store), "x", prefix.encode())
    client = boto3.Session().client("s3")
    listed = client.list_objects_v2(Bucket=bucket.removeprefix("s3://"))["Contents"]
    client.close()
    assert [item["Key"] for item in listed] == ["a.b=c/x", "a/b/x", "a/x", "x"]
    assert not (tmp_path / FOLDER).exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "set AWS_ACCESS_KEY_ID and"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "missing: AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SESSION_TOKEN": f"{SECRET}\n"}, "holds an end of line"),
        ({"AWS_PROFILE": "mine"}, "correct AWS_PROFILE"),
        ({"AWS_DEFAULT_REGION": "some where"}, "set AWS_DEFAULT_REGION"),
        ({"AWS_ENDPOINT_URL_S3": "nowhere"}, "correct AWS_ENDPOINT_URL_S3"),
    ],
)
def test_an_environment_that_cannot_work_is_refused(refused, changes, words):
    assert words in refused(**changes)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", f"http://me:{SECRET}@127.0.0.1:9"])
def test_a_server_that_is_away_may_be_back(refused, address):
    told = refused(kind=Unreachable, AWS_ENDPOINT_URL_S3=address)
    assert "check AWS_ENDPOINT_URL_S3" in told
    assert "list-type" not in told


def test_a_bucket_that_is_not_there_is_refused(refused):
    assert "create it" in refused("s3://nobodys-bucket")


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (403, error("AccessDenied"), StoreError, "need s3:ListBucket"),
        (403, error("SignatureDoesNotMatch"), StoreError, "check AWS_ACCESS_KEY_ID"),
        (403, error("InvalidAccessKeyId"), StoreError, "check AWS_ACCESS_KEY_ID"),
        (301, error("PermanentRedirect"), StoreError, "set AWS_DEFAULT_REGION"),
        (404, "<html>no such page</html>", StoreError, "refused (404)"),
        (200, "<html>a page</html>", StoreError, "does not speak S3"),
        (400, error("RequestTimeout"), Unreachable, "try again"),
        (403, error("QuotaExceeded"), Unreachable, "QuotaExceeded"),
        (503, error("SlowDown"), Unreachable, "try again"),
        (502, "<html>bad gateway", Unreachable, "502"),
    ],
)
def test_what_a_server_answers_is_told(refused, status, body, kind, words):
    with answering((status, body)) as address:
        told = refused(kind=kind, AWS_ENDPOINT_URL_S3=address)
    assert words in told
    assert len(told.splitlines()) == 1


def test_a_worker_waits_for_a_server_as_patience_says(bucket, store, monkeypatch, capsys):
    monkeypatch.setenv("TSDIAG_ARTIFACTS", "s3://tsdiag")
    # boto3 itself asks twice each time.
    with answering(*[(503, error("SlowDown"))] * 3, (200, EMPTY)) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        artifact_store(open_store(store.full_url, patience=Patience(60)))
    assert "trying again for 60 s" in capsys.readouterr().err


def test_an_outage_is_noticed_in_seconds():
    limits = module._LIMITS
    attempts = limits.retries["total_max_attempts"]
    assert limits.connect_timeout * attempts < 10  # what a worker has after SIGTERM
    assert limits.read_timeout * attempts < 30


@pytest.mark.parametrize(
    "place",
    [
        *("gs://bucket", "https://host/bucket", "s3://", "s3://b", "s3://bucket?endpoint=x"),
        *(
            "s3://bucket/../x",
            "s3://bucket//x",
            "s3://bucket/./x",
            "s3://buck\u00e9t",
            "S3://bucket",
        ),
        *(f"s3://me:{SECRET}@bucket", f"s3://bucket/?secret={SECRET}", f"https://me:{SECRET}@host"),
    ],
)
def test_other_places_are_refused(refused, place):
    assert "s3://BUCKET/PREFIX" in refused(place)


def test_without_boto3_it_says_what_to_install(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "tsdiag.search.bucket")
    assert 'no package boto3, which S3 needs; install it: pip install "tsdiag[s3]"' in refused()
