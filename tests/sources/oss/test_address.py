"""What people type for a folder in OSS, an endpoint, a role."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsearch.errors import ImgsearchError, RemoteCode, RemoteError, UsageError
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
    ("text", "code"),
    [
        ("", UsageError.code),
        ("abc/d", UsageError.code),
        ("s3://abc/d", UsageError.code),
        ("oss://", RemoteCode.INVALID_BUCKET),
        ("oss://ab", RemoteCode.INVALID_BUCKET),
        ("oss://Abc", RemoteCode.INVALID_BUCKET),
        ("oss://-abc", RemoteCode.INVALID_BUCKET),
        ("oss://abc-", RemoteCode.INVALID_BUCKET),
        ("oss://a_bc", RemoteCode.INVALID_BUCKET),
        ("oss://abc\n/d", RemoteCode.INVALID_BUCKET),
        ("oss://" + "a" * 64, RemoteCode.INVALID_BUCKET),
        ("oss://abc/../d", RemoteCode.PATH_NOT_FOUND),
        ("oss://abc/d//e", RemoteCode.PATH_NOT_FOUND),
        ("oss://abc/./d", RemoteCode.PATH_NOT_FOUND),
        ("oss://abc/d\x00", RemoteCode.PATH_NOT_FOUND),
        ("oss://abc/increment.meta", RemoteCode.PATH_NOT_FOUND),
    ],
)
def test_addresses_that_are_none(text: str, code: str) -> None:
    """Told before any request, on one line."""
    with pytest.raises(ImgsearchError) as caught:
        OssAddress.parse(text)
    assert caught.value.code == code
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
    ("endpoint", "region", "code"),
    [
        (None, None, UsageError.code),
        (None, "Shanghai", RemoteCode.INVALID_ENDPOINT),
        (None, "cn-shanghai.evil.example/", RemoteCode.INVALID_ENDPOINT),
        ("ftp://host", None, RemoteCode.INVALID_ENDPOINT),
        ("https://user:password@host", None, RemoteCode.INVALID_ENDPOINT),
        ("host/path", None, RemoteCode.INVALID_ENDPOINT),
        ("", None, RemoteCode.INVALID_ENDPOINT),
    ],
)
def test_endpoints_that_are_none(endpoint: str | None, region: str | None, code: str) -> None:
    """A password in an address is not repeated."""
    with pytest.raises(ImgsearchError) as caught:
        endpoint_url(endpoint, region)
    assert caught.value.code == code
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
        with pytest.raises(RemoteError) as caught:
            check_role_arn(arn)
        assert caught.value.code == RemoteCode.INVALID_ROLE_ARN
