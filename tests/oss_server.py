"""A storage service on loopback that speaks OSS and STS over HTTP, for tests and benchmarks.

It checks every signature, V1 and V4, by its own reading of the published algorithms, knows keys, tokens, roles and RAM
policies, keeps its objects in memory, counts what it is asked for, and fails in the ways that a test orders.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.loopback_http import Handler, serving

REGION = "cn-shanghai"
KEY_ID, SECRET = "LTAItestkey", "correct-horse-battery-staple"
MAX_SKEW_SECONDS = 15 * 60
ALLOW_ALL: dict[str, Any] = {"Statement": [{"Effect": "Allow", "Action": ["oss:*"], "Resource": ["*"]}]}
SUBRESOURCES = {"location", "bucketInfo", "acl", "continuation-token", "versionId", "security-token", "x-oss-process"}
"""Parts of a query that signature V1 covers, as far as anything here asks for them."""
METADATA_HOST = "100.100.100.200"
POLYNOMIAL = 0xC96C5795D7870F42
"""ECMA-182's, reflected."""


def crc64_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ POLYNOMIAL if value & 1 else value >> 1
        table.append(value)
    return table


CRC64_TABLE = crc64_table()


def crc64(data: bytes) -> int:
    """CRC-64 as OSS computes it, by the book."""
    value = 2**64 - 1
    for byte in data:
        value = value >> 8 ^ CRC64_TABLE[(value ^ byte) & 255]
    return value ^ 2**64 - 1


@dataclass
class Stored:
    """One object."""

    data: bytes
    etag: str = ""
    crc: int | None = None

    def __post_init__(self) -> None:
        self.etag = self.etag or hashlib.md5(self.data).hexdigest().upper()


@dataclass
class Key:
    """An access key, or what AssumeRole gives for a while."""

    secret: str
    token: str | None = None
    policy: Mapping[str, Any] = field(default_factory=lambda: ALLOW_ALL)
    uses: float = float("inf")
    """Requests after which its token has expired."""
    assumes: bool = True
    """Whether its user may call AssumeRole."""


@dataclass
class Role:
    """A RAM role."""

    trusts_accounts: bool = True
    """Otherwise a cloud service only."""
    policy: Mapping[str, Any] = field(default_factory=lambda: ALLOW_ALL)
    uses: float = float("inf")
    seconds: int = 3600


@dataclass
class Fault:
    """What goes wrong with one request."""

    kind: str
    """error, reset, cut, slow, crc."""
    status: int = 503
    code: str = "ServiceUnavailable"
    seconds: float = 0.0


class Refusal(Exception):
    """An error document."""

    def __init__(self, status: int, code: str, **details: str) -> None:
        super().__init__(code)
        self.status, self.code, self.details = status, code, details


class OssServer:
    """Buckets, keys and roles; ``with server.running():`` serves them."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.locations: dict[str, str] = {}
        self.listings: dict[str, list[str]] = {}
        self.keys: dict[str, Key] = {KEY_ID: Key(SECRET)}
        self.roles: dict[str, Role] = {}
        self.machine_role: str | None = None
        """Role of the ECS machine that asks, for the metadata service."""
        self.faults: dict[str, list[Fault]] = {}
        """Object key to what its next requests meet; ``*`` for any request."""
        self.latency = 0.0
        self.clock = 0.0
        """Seconds that this server is ahead."""
        self.checks_signatures = True
        self.other_endpoint: str | None = None
        """Where the buckets are served instead."""
        self.unlike = ""
        """XML element that the answers of this storage lack, such as ``Type``."""
        self.counts: Counter[str] = Counter()
        self.fetched: list[str] = []
        """Keys of all objects whose body was sent to its end, in order."""
        self.versions: Counter[str] = Counter()
        self.connections = 0
        self.lock = Lock()
        self.port = 0
        self.on_request: Callable[[str], None] = lambda _key: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, bucket: str, key: str, data: bytes, etag: str = "") -> None:
        self.locations.setdefault(bucket, REGION)
        self.listings.pop(bucket, None)
        self.buckets.setdefault(bucket, {})[key] = Stored(data, etag)

    def sorted_names(self, bucket: str) -> list[str]:
        with self.lock:
            names = self.listings.get(bucket, [])
            if len(names) != len(self.buckets[bucket]):
                names = self.listings[bucket] = sorted(self.buckets[bucket])
        return names

    def environment(self, **changes: str) -> dict[str, str]:
        """Variables for a process that is to use this server with its own key."""
        return {
            "ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET,
            "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
            "OSS_ENDPOINT": self.url,
            **changes,
        }

    @contextmanager
    def running(self) -> Iterator[OssServer]:
        with serving(type("Handler", (_Handler,), {"oss": self})) as self.port:
            yield self

    def next_fault(self, *names: str) -> Fault | None:
        with self.lock:
            for name in names:
                if self.faults.get(name):
                    return self.faults[name].pop(0)
        return None

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.clock, UTC)


class _Handler(Handler):
    oss: OssServer

    def setup(self) -> None:
        super().setup()
        with self.oss.lock:
            self.oss.connections += 1

    def _serve(self) -> None:
        if self.oss.latency:
            time.sleep(self.oss.latency)
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            if parts.hostname == METADATA_HOST:
                return self._metadata(parts.path)
            if self.query.get("Action") == "AssumeRole":
                return self._assume_role()
            self.bucket, _, key = unquote(parts.path.removeprefix("/")).partition("/")
            self._storage(key)
        except Refusal as refusal:
            self._refuse(refusal)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        return None

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-oss-request-id", "5C3D8D2A0ACA54D87B43")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, refusal: Refusal) -> None:
        details = {"Code": refusal.code, "Message": "no", "RequestId": "5C3D", **refusal.details}
        body = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in details.items())
        self._send(refusal.status, f"<Error>{body}</Error>".encode(), {"Content-Type": "application/xml"})

    # Who asks

    def _authorized(self, action: str, resource: str, prefix: str | None = None) -> None:
        if not self.oss.checks_signatures:
            return
        header = self.headers.get("Authorization", "")
        if header.startswith("OSS4-HMAC-SHA256 "):
            key_id, signature, expected, sent = self._signature_v4(header.removeprefix("OSS4-HMAC-SHA256 "))
            self._count("V4")
        elif header.startswith("OSS "):
            key_id, _, signature = header.removeprefix("OSS ").partition(":")
            expected, sent = self._string_v1, parsedate_to_datetime(self.headers["Date"])
            self._count("V1")
        else:
            raise Refusal(403, "AccessDenied")
        key = self.oss.keys.get(key_id)
        if key is None:
            raise Refusal(403, "InvalidAccessKeyId")
        if abs((self.oss.now() - sent).total_seconds()) > MAX_SKEW_SECONDS:
            raise Refusal(403, "RequestTimeTooSkewed")
        if not hmac.compare_digest(signature, expected(key.secret)):
            raise Refusal(403, "SignatureDoesNotMatch")
        if key.token != self.headers.get("x-oss-security-token"):
            raise Refusal(403, "InvalidSecurityToken")
        with self.oss.lock:
            key.uses -= 1
            if key.uses < 0:
                raise Refusal(403, "SecurityTokenExpired")
        if self.oss.other_endpoint:
            raise Refusal(403, "AccessDenied", Endpoint=self.oss.other_endpoint)
        if not is_allowed(key.policy, action, f"acs:oss:{REGION}:1234567890123456:{resource}", prefix):
            raise Refusal(403, "AccessDenied")

    def _string_v1(self, secret: str) -> str:
        headers = sorted((name.lower(), value.strip()) for name, value in self.headers.items())
        own = "".join(f"{name}:{value}\n" for name, value in headers if name.startswith("x-oss-"))
        covered = sorted((name, value) for name, value in self.query.items() if name in SUBRESOURCES)
        query = "&".join(f"{name}={value}" if value else name for name, value in covered)
        path = unquote(urlsplit(self.path).path)
        resource = path + (f"?{query}" if query else "")
        text = "\n".join(
            [
                self.command,
                self.headers.get("Content-MD5", ""),
                self.headers.get("Content-Type", ""),
                self.headers["Date"],
                own + resource,
            ]
        )
        return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()

    def _signature_v4(self, header: str) -> tuple[str, str, Callable[[str], str], datetime]:
        fields = dict(part.strip().split("=", 1) for part in header.split(","))
        key_id, date, region, service, end = fields["Credential"].split("/")
        if (service, end) != ("oss", "aliyun_v4_request") or region != REGION:
            raise Refusal(400, "InvalidArgument", Message="Invalid signing region in Authorization header.")
        additional = [name for name in fields.get("AdditionalHeaders", "").split(";") if name]
        stamp = self.headers["x-oss-date"]

        def covered(name: str) -> bool:
            return name.startswith("x-oss-") or name in {"content-type", "content-md5", *additional}

        headers = sorted((name.lower(), value.strip()) for name, value in self.headers.items())
        query = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in self.query.items())
        request = "\n".join(
            [
                self.command,
                quote(unquote(urlsplit(self.path).path), safe="/"),
                "&".join(f"{name}={value}" if value else name for name, value in query),
                "".join(f"{name}:{value}\n" for name, value in headers if covered(name)),
                ";".join(sorted(additional)),
                self.headers["x-oss-content-sha256"],
            ]
        )
        scope = f"{date}/{region}/oss/aliyun_v4_request"
        text = f"OSS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"

        def expected(secret: str) -> str:
            key = f"aliyun_v4{secret}".encode()
            for part in (date, region, "oss", "aliyun_v4_request"):
                key = hmac.new(key, part.encode(), hashlib.sha256).digest()
            return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

        sent = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return key_id, fields["Signature"], expected, sent

    # What is asked for

    def _count(self, what: str) -> None:
        with self.oss.lock:
            self.oss.counts[what] += 1

    def _storage(self, key: str) -> None:
        objects = self.oss.buckets.get(self.bucket)
        if key:
            self._count(f"{self.command} object")
            self._count(f"{self.command} {key}")
            self.oss.on_request(key)
            self._authorized("oss:GetObject", f"{self.bucket}/{key}")
        elif "location" in self.query:
            self._count("location")
            self._authorized("oss:GetBucketLocation", self.bucket)
        elif self.query.get("list-type") == "2":
            self._count("list")
            self._authorized("oss:ListObjects", self.bucket, self.query.get("prefix", ""))
        else:
            raise Refusal(501, "NotImplemented")
        if objects is None:
            raise Refusal(404, "NoSuchBucket", BucketName=self.bucket)
        fault = self.oss.next_fault(key or "list", "*")
        if fault is not None and fault.kind == "error":
            raise Refusal(fault.status, fault.code)
        if fault is not None and fault.kind == "reset":
            self.reset()
            return
        if key:
            self._object(key, objects, fault)
        elif "location" in self.query:
            body = f"<LocationConstraint>oss-{self.oss.locations[self.bucket]}</LocationConstraint>"
            self._send(200, b"Bucket of the intranet" if self.oss.unlike == "LocationConstraint" else body.encode())
        else:
            self._list(objects)

    def _object(self, key: str, objects: Mapping[str, Stored], fault: Fault | None) -> None:
        stored = objects.get(key)
        if stored is None:
            raise Refusal(404, "NoSuchKey", Key=key)
        if stored.crc is None:
            stored.crc = crc64(stored.data)
        kind = fault.kind if fault is not None else ""
        self.send_response(200)
        self.send_header("Content-Length", str(len(stored.data)))
        self.send_header("ETag", f'"{stored.etag}"')
        self.send_header("x-oss-hash-crc64ecma", str(stored.crc ^ (kind == "crc")))
        self.send_header("Last-Modified", "Tue, 03 Nov 2026 10:00:00 GMT")
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind == "cut":
            self.wfile.write(stored.data[: len(stored.data) // 2])
            self.close_connection = True
            return
        if kind == "slow" and fault is not None:
            end = time.monotonic() + fault.seconds
            for start in range(len(stored.data)):
                self.wfile.write(stored.data[start : start + 1])
                self.wfile.flush()
                time.sleep(0.05)
                if time.monotonic() > end:
                    self.wfile.write(stored.data[start + 1 :])
                    break
        else:
            self.wfile.write(stored.data)
        self.wfile.flush()
        with self.oss.lock:
            self.oss.fetched.append(key)

    def _list(self, objects: Mapping[str, Stored]) -> None:
        prefix, behind = self.query.get("prefix", ""), self.query.get("start-after", "")
        behind = self.query.get("continuation-token") or behind
        most = int(self.query.get("max-keys") or 100)
        names = self.oss.sorted_names(self.bucket)
        start = max(bisect_right(names, behind) if behind else 0, bisect_left(names, prefix))
        found = [name for name in names[start : start + most + 1] if name.startswith(prefix)]
        page, more = found[:most], len(found) > most
        contents = "".join(
            f"<Contents><Key>{quote(name, safe='')}</Key><LastModified>2026-11-03T10:00:00.000Z</LastModified>"
            f"<ETag>&quot;{objects[name].etag}&quot;</ETag><Type>Normal</Type><Size>{len(objects[name].data)}</Size>"
            "<StorageClass>Standard</StorageClass></Contents>"
            for name in page
        )
        if self.oss.unlike:
            contents = re.sub(f"<{self.oss.unlike}>.*?</{self.oss.unlike}>", "", contents)
        token = f"<NextContinuationToken>{quote(page[-1], safe='')}</NextContinuationToken>" if more else ""
        self._send(
            200,
            f"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"<KeyCount>{len(page)}</KeyCount>{contents}</ListBucketResult>".encode(),
        )

    # The token service, and the metadata service of an ECS machine

    def _assume_role(self) -> None:
        self._count("AssumeRole")
        query = dict(self.query)
        signature = query.pop("Signature", "")
        key = self.oss.keys.get(query.get("AccessKeyId", ""))
        if key is None:
            return self._sts_error(404, "InvalidAccessKeyId.NotFound")
        joined = "&".join(f"{rpc_quote(name)}={rpc_quote(value)}" for name, value in sorted(query.items()))
        text = f"GET&{rpc_quote('/')}&{rpc_quote(joined)}"
        expected = base64.b64encode(hmac.new(f"{key.secret}&".encode(), text.encode(), hashlib.sha1).digest()).decode()
        if signature != expected:
            return self._sts_error(400, "SignatureDoesNotMatch")
        sent = datetime.strptime(query["Timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        if abs((self.oss.now() - sent).total_seconds()) > MAX_SKEW_SECONDS:
            return self._sts_error(400, "InvalidTimeStamp.Expired")
        fault = self.oss.next_fault("AssumeRole")
        if fault is not None:
            return self._sts_error(fault.status, fault.code)
        role = self.oss.roles.get(query["RoleArn"])
        if role is None:
            return self._sts_error(404, "EntityNotExist.Role")
        if not role.trusts_accounts:
            return self._sts_error(403, "NoPermission", "AssumeRolePolicy")
        if not key.assumes:
            return self._sts_error(403, "NoPermission", "AccountLevelIdentityBasedPolicy")
        body = {"Credentials": self._new_credentials(role)}
        return self._send(200, json.dumps(body).encode())

    def _new_credentials(self, role: Role) -> dict[str, str]:
        with self.oss.lock:
            self.oss.versions["token"] += 1
            number = self.oss.versions["token"]
        key_id, secret, token = f"STS.{number}", f"temporary-secret-{number}", f"temporary-token-{number}"
        self.oss.keys[key_id] = Key(secret, token, role.policy, role.uses)
        until = datetime.fromtimestamp(time.time() + role.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"AccessKeyId": key_id, "AccessKeySecret": secret, "SecurityToken": token, "Expiration": until}

    def _sts_error(self, status: int, code: str, policy_type: str | None = None) -> None:
        body: dict[str, Any] = {"Code": code, "Message": "no", "RequestId": "5C3D", "HostId": "sts.aliyuncs.com"}
        if policy_type:
            body["AccessDeniedDetail"] = {"PolicyType": policy_type, "NoPermissionType": "ImplicitDeny"}
        self._send(status, json.dumps(body).encode())

    def _metadata(self, path: str) -> None:
        self._count("metadata")
        name = self.oss.machine_role
        if self.command == "PUT":
            return self._send(200, b"metadata-token")
        if name is None:
            return self._send(404, b"")
        if path.endswith("/security-credentials/"):
            return self._send(200, name.encode())
        role = self.oss.roles[name]
        document = {"Code": "Success", "LastUpdated": "2026-11-03T10:00:00Z", **self._new_credentials(role)}
        return self._send(200, json.dumps(document).encode())


def rpc_quote(text: str) -> str:
    """Percent encoding of the RPC signature."""
    return quote(text, safe="~")


def is_allowed(policy: Mapping[str, Any], action: str, resource: str, prefix: str | None) -> bool:
    """Whether a RAM policy allows an action: some statement that allows it, and none that denies it."""
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if any(fnmatchcase(action, pattern) for pattern in statement["Action"])
        and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        and all(
            prefix is not None and any(fnmatchcase(prefix, pattern) for pattern in patterns)
            for name, patterns in statement.get("Condition", {}).get("StringLike", {}).items()
            if name == "oss:Prefix"
        )
    }
    return effects == {"Allow"}
