"""What people type for a folder in OSS, an endpoint, a role."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import ImgsearchError, InvalidBucket, InvalidEndpoint, InvalidRoleArn, PathNotFound, UsageError
from imgsearch.sources.oss.address import OssAddress, check_role_arn, endpoint_region, endpoint_url


@pytest.mark.parametrize(
    ("text", "bucket", "folder", "prefix"),
    [
        ("oss://abc", "abc", "", ""),
        ("oss://abc/", "abc", "", ""),
        ("oss://a-1/b/c", "a-1", "b/c", "b/c/"),
        ("oss://a-1/b/c/", "a-1", "b/c", "b/c/"),
        ("oss://abc//b", "abc", "b", "b/"),
        ("oss://abc/ü %2F?x#y", "abc", "ü %2F?x#y", "ü %2F?x#y/"),
    ],
)
def test_addresses(text: str, bucket: str, folder: str, prefix: str) -> None:
    """Nothing of a path means anything else than itself, but the slashes at its ends."""
    address = OssAddress.parse(text)
    assert (address.bucket, address.folder, address.prefix) == (bucket, folder, prefix)
    assert address.manifest_key == f"{prefix}increment.meta"
    assert OssAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", UsageError),
        ("abc/d", UsageError),
        ("s3://abc/d", UsageError),
        ("oss://", InvalidBucket),
        ("oss://ab", InvalidBucket),
        ("oss://Abc", InvalidBucket),
        ("oss://-abc", InvalidBucket),
        ("oss://abc-", InvalidBucket),
        ("oss://a_bc", InvalidBucket),
        ("oss://abc\n/d", InvalidBucket),
        ("oss://" + "a" * 64, InvalidBucket),
        ("oss://abc/../d", PathNotFound),
        ("oss://abc/d//e", PathNotFound),
        ("oss://abc/./d", PathNotFound),
        ("oss://abc/d\x00", PathNotFound),
        ("oss://abc/increment.meta", PathNotFound),
    ],
)
def test_addresses_that_are_none(text: str, error: type[ImgsearchError]) -> None:
    """Told before any request, on one line."""
    with pytest.raises(error) as caught:
        OssAddress.parse(text)
    assert caught.value.message.isprintable()


@given(st.text())
def test_any_text_is_an_address_or_an_error_of_ours(text: str) -> None:
    """Nothing else is ever raised, and what passes can be written again."""
    for candidate in (text, f"oss://{text}", f"oss://abc/{text}"):
        with contextlib.suppress(ImgsearchError):
            assert OssAddress.parse(str(OssAddress.parse(candidate))) == OssAddress.parse(candidate)


@pytest.mark.parametrize(
    ("endpoint", "region", "url", "named"),
    [
        (None, "cn-shanghai", "https://oss-cn-shanghai.aliyuncs.com", "cn-shanghai"),
        ("oss-eu-central-1.aliyuncs.com", None, "https://oss-eu-central-1.aliyuncs.com", "eu-central-1"),
        ("oss-cn-beijing-internal.aliyuncs.com/", None, "https://oss-cn-beijing-internal.aliyuncs.com", "cn-beijing"),
        ("http://storage.example:8080", "x-1", "http://storage.example:8080", None),
        ("127.0.0.1:8080", None, "http://127.0.0.1:8080", None),
        ("localhost:8080", None, "http://localhost:8080", None),
        ("10.0.0.1", None, "https://10.0.0.1", None),
    ],
)
def test_endpoints(endpoint: str | None, region: str | None, url: str, named: str | None) -> None:
    """https unless another scheme is given; a loopback address is reached without."""
    assert endpoint_url(endpoint, region) == url
    assert endpoint_region(url) == named


@pytest.mark.parametrize(
    ("endpoint", "region", "error"),
    [
        (None, None, UsageError),
        (None, "Shanghai", InvalidEndpoint),
        (None, "cn-shanghai.evil.example/", InvalidEndpoint),
        ("ftp://host", None, InvalidEndpoint),
        ("https://user:password@host", None, InvalidEndpoint),
        ("host/path", None, InvalidEndpoint),
        ("", None, InvalidEndpoint),
    ],
)
def test_endpoints_that_are_none(endpoint: str | None, region: str | None, error: type[ImgsearchError]) -> None:
    """A password in an address is not repeated."""
    with pytest.raises(error) as caught:
        endpoint_url(endpoint, region)
    assert "password" not in caught.value.message


def test_role_arns() -> None:
    """The form of service.md, 10.1."""
    check_role_arn("acs:ram::1234567890123456:role/AliyunImageSearch-x.y")
    for arn in (
        "",
        "x",
        "acs:ram::123:role/x",
        "acs:ram::1234567890123456:role/",
        "acs:ram::1234567890123456:role/a b",
    ):
        with pytest.raises(InvalidRoleArn):
            check_role_arn(arn)
