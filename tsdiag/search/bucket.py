"""Artifacts in an S3 bucket, of Amazon or of any other server that speaks S3.

Optuna has a store for buckets, too. It knows no prefix, takes a missing bucket for a missing file,
and lets boto3's own errors through, which whoever writes would have to know.
"""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from optuna.artifacts.exceptions import ArtifactNotFound

from tsdiag.errors import without_passwords
from tsdiag.runs.artifacts import plain_name

# An outage is noticed within seconds [s]: whoever asked knows better how long to wait for its end.
# Ten seconds after SIGTERM a worker is gone, and it writes a checkpoint in them.
_LIMITS = Config(
    connect_timeout=4,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
)

_KEYS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
_RIGHTS = "they need s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there"
_REGION = "set AWS_DEFAULT_REGION to the bucket's region"
# S3's code of an error, or the name of boto3's -> what to do. Trying again helps with none of them.
_ADVICE = {
    "NoSuchBucket": "create it, or correct its name",
    "ParamValidationError": "correct the bucket's name",
    "AccessDenied": f"check whose credentials these are; {_RIGHTS}",
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "InvalidToken": _KEYS,
    "ExpiredToken": _KEYS,
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "PartialCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, both",
    "ProfileNotFound": "correct AWS_PROFILE",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "InvalidRegionError": _REGION,
    "RequestTimeTooSkewed": "set this machine's clock",
    "ValueError": "correct AWS_ENDPOINT_URL_S3",
}
_OTHERWISE = "check AWS_ENDPOINT_URL_S3, the network and the server, then try again"
# S3 blames who asked for these, too, although trying again helps.
_PASSING = {"RequestTimeout", "OperationAborted", "SlowDown", "TooManyRequests"}
_PASSING |= {"QuotaExceeded", "XMinioAdminBucketQuotaExceeded"}
_QUERY = re.compile(r"\?[^\s\"]*")  # of the addresses that boto3 prints


class Bucket:
    """What lies in a bucket under a prefix; a file is there whole or not at all.

    Credentials, region and endpoint are boto3's own affair: environment, profiles, instance roles.
    """

    def __init__(self, name: str, prefix: str = "") -> None:
        self._name, self._prefix = name, f"{prefix}/" if prefix else ""
        self._url = f"s3://{name}/{self._prefix}".rstrip("/")
        with self._told():
            # A session of its own: boto3's default one keeps what it once found in the environment.
            self._client = boto3.Session().client("s3", config=_LIMITS)
            # Now rather than after hours of training.
            found = self._client.list_objects_v2(Bucket=name, Prefix=self._prefix, MaxKeys=1)
            if "Name" not in found:  # boto3 takes any page for an empty bucket
                raise ValueError("what answers does not speak S3")

    def __str__(self) -> str:
        return self._url

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Read to the end: an answer that breaks off is told here, as everything else is."""
        with self._told():
            found = self._client.get_object(Bucket=self._name, Key=self._key(artifact_id))
            return io.BytesIO(found["Body"].read())

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write or overwrite, in several parts where it is large."""
        with self._told():
            self._client.upload_fileobj(content_body, self._name, self._key(artifact_id))

    def remove(self, artifact_id: str) -> None:
        """Delete; S3 does not say whether anything was there."""
        with self._told():
            self._client.delete_object(Bucket=self._name, Key=self._key(artifact_id))

    def _key(self, artifact_id: str) -> str:
        return self._prefix + plain_name(artifact_id)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what boto3 complains about into what a folder would."""
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error, ResponseParserError, ValueError) as error:
            # "from None": what could not be sent may be quoted in it, a token among that.
            raise _in_words(self._url, error) from None


def _in_words(url: str, error: Exception) -> Exception:
    """Return an OSError, with a number where trying again is in vain; or that nothing is there."""
    kind, found, status = _answer(error)
    if kind == "NoSuchKey":
        return ArtifactNotFound(f"{url}: no such artifact there")
    words = " ".join(_QUERY.sub("", without_passwords(found)).split()).rstrip(".")
    told = OSError(f"{url}: {words}; {_ADVICE.get(kind, _OTHERWISE)}")
    if kind in _ADVICE or (300 <= status < 500 and kind not in _PASSING):
        told.errno = errno.EACCES
    return told


def _answer(error: Exception) -> tuple[str, str, int]:
    """Return kind, words and HTTP status (0: none) of what a server or boto3 says."""
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = said.get("Code") or str(status)
        return kind, f"{said.get('Message') or 'refused'} ({kind})", status
    if "header value" in str(error):
        return "InvalidToken", "a key or token holds an end of line or another control character", 0
    return type(error).__name__, str(error), 0
