"""Every documented cause of a failed import (service.md, 10.2), each through a real process.

Contract: exit code 7, a ``Code`` and a way out of its own, and nothing is written: no instance is made, an existing one
stays as it was, no picture is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from imgsearch.instance import Instance
from imgsearch.sources.oss.address import OssAddress
from imgsearch.sources.oss.policy import GET_LOCATION, GET_OBJECT, minimal_policy
from imgsearch.storage.sqlite.store import DATABASE_NAME
from tests.conftest import Run
from tests.oss_server import KEY_ID, REGION, SECRET, Fault, Key, OssServer, Role
from tests.oss_shop import ADDRESS, BUCKET, FOLDER, Shop, copy_samples, line

ARN = "acs:ram::1234567890123456:role/reader"
MANIFEST = f"{FOLDER}/increment.meta"
HOUR = 3600.0
NOBODY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""}


def nothing(_server: OssServer) -> None:
    pass


@dataclass
class Cause:
    """What is wrong, and what is to be said of it."""

    code: str
    way_out: str
    """Part of the message."""
    prepare: Callable[[OssServer], object] = nothing
    arguments: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    address: str = ADDRESS
    role: bool = False
    """Whether a role is assumed."""


def as_token(server: OssServer, **changes: float) -> None:
    server.keys["STS.1"] = Key(SECRET, "right", **changes)


def policy_without(action: str) -> Callable[[OssServer], object]:
    def prepare(server: OssServer) -> None:
        statements = minimal_policy(OssAddress.parse(ADDRESS))["Statement"]
        server.keys[KEY_ID].policy = {"Statement": [one for one in statements if one["Action"] != [action]]}

    return prepare


def policy(address: str | None) -> Callable[[OssServer], object]:
    def prepare(server: OssServer) -> None:
        own = {"Statement": []} if address is None else minimal_policy(OssAddress.parse(address))
        server.keys[KEY_ID].policy = own

    return prepare


def renamed(server: OssServer) -> None:
    objects = server.buckets[BUCKET]
    server.put(BUCKET, f"{FOLDER}/increment.txt", objects.pop(MANIFEST).data)


TOKEN = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "STS.1", "ALIBABA_CLOUD_SECURITY_TOKEN": "right"}

CAUSES = {
    # Keys
    "no keys": Cause("NoCredentials", "ALIBABA_CLOUD_ACCESS_KEY_ID", env=NOBODY),
    "half a key": Cause("NoCredentials", "OSS_ACCESS_KEY_SECRET", env={**NOBODY, "OSS_ACCESS_KEY_ID": KEY_ID}),
    "unknown key": Cause("InvalidAccessKeyId", "check the access key id", lambda server: server.keys.clear()),
    "wrong secret": Cause("SignatureDoesNotMatch", "secret", env={"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong"}),
    "expired token": Cause("SecurityTokenExpired", "new one", lambda server: as_token(server, uses=0), env=TOKEN),
    "wrong token": Cause(
        "InvalidSecurityToken", "new one", as_token, env={**TOKEN, "ALIBABA_CLOUD_SECURITY_TOKEN": "wrong"}
    ),
    "clock ahead": Cause("RequestTimeTooSkewed", "set it", lambda server: setattr(server, "clock", HOUR)),
    "clock behind": Cause("RequestTimeTooSkewed", "set it", lambda server: setattr(server, "clock", -HOUR)),
    "clock ahead, signature V1": Cause(
        "RequestTimeTooSkewed", "set it", lambda server: setattr(server, "clock", HOUR), env={"OSS_REGION": ""}
    ),
    # Role
    "ARN of a user": Cause(
        "InvalidRoleArn", "role/<name>", arguments=["--role-arn", "acs:ram::1234567890123456:user/x"]
    ),
    "ARN cut off": Cause("InvalidRoleArn", "16-digit", arguments=["--role-arn", "acs:ram::12345:role/x"]),
    "empty ARN": Cause("InvalidRoleArn", "role/<name>", arguments=["--role-arn", ""]),
    "no such role": Cause("RoleNotExist", "check the account id and the name", role=True),
    "role of a cloud service": Cause(
        "InvalidRoleType", "trust policy", lambda server: server.roles.update({ARN: Role(False)}), role=True
    ),
    "role not allowed": Cause(
        "RoleNotAssumable",
        "sts:AssumeRole",
        lambda server: (server.roles.update({ARN: Role()}), setattr(server.keys[KEY_ID], "assumes", False)),
        role=True,
    ),
    "unknown key, role": Cause(
        "InvalidAccessKeyId", "check the access key id", lambda server: server.keys.clear(), role=True
    ),
    "wrong secret, role": Cause(
        "SignatureDoesNotMatch", "secret", env={"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong"}, role=True
    ),
    "clock, role": Cause("RequestTimeTooSkewed", "set it", lambda server: setattr(server, "clock", HOUR), role=True),
    "token service fails": Cause(
        "NetworkException",
        "ServiceUnavailable",
        lambda server: server.faults.update(AssumeRole=[Fault("error", 503, "ServiceUnavailable")] * 30),
        role=True,
    ),
    "token service away": Cause(
        "NetworkException", "--sts-endpoint", arguments=["--role-arn", ARN, "--sts-endpoint", "http://127.0.0.1:9"]
    ),
    "role without policy": Cause(
        "AccessDenied",
        "--explain-policy",
        lambda server: server.roles.update({ARN: Role(policy={"Statement": []})}),
        role=True,
    ),
    # Policy
    "no policy": Cause("AccessDenied", "--explain-policy", policy(None)),
    "policy for another path": Cause("AccessDenied", GET_OBJECT, policy(f"oss://{BUCKET}/other")),
    "policy for another bucket": Cause("AccessDenied", GET_LOCATION, policy(f"oss://other/{FOLDER}")),
    "policy without location": Cause("AccessDenied", GET_LOCATION, policy_without(GET_LOCATION)),
    "an answer unlike OSS's": Cause(
        "UnsupportedAnswer", "--endpoint", lambda server: setattr(server, "unlike", "LocationConstraint")
    ),
    "policy without reading": Cause("AccessDenied", GET_OBJECT, policy_without(GET_OBJECT)),
    # Region and endpoint
    "bucket in another region": Cause(
        "BucketRegionMismatch", "--region-id cn-beijing", lambda server: server.locations.update({BUCKET: "cn-beijing"})
    ),
    "another endpoint": Cause(
        "BucketRegionMismatch",
        "oss-cn-beijing.aliyuncs.com",
        lambda server: setattr(server, "other_endpoint", "oss-cn-beijing.aliyuncs.com"),
    ),
    "endpoint with a path": Cause("InvalidEndpoint", "expected a host", arguments=["--endpoint", "https://host/path"]),
    "endpoint away": Cause("NetworkException", "check --endpoint", arguments=["--endpoint", "http://127.0.0.1:9"]),
    "region that is none": Cause(
        "InvalidEndpoint", "cn-shanghai", arguments=["--region-id", "Shanghai!"], env={"OSS_ENDPOINT": ""}
    ),
    # Bucket, path, manifest
    "bucket that cannot be": Cause("InvalidBucketName", "lower-case", address="oss://My_Bucket/x"),
    "no bucket": Cause("InvalidBucketName", "oss://BUCKET/PATH", address="oss:///x"),
    "no such bucket": Cause("NoSuchBucket", "check its name", address=f"oss://not-there/{FOLDER}"),
    "wrong path": Cause("InvalidPath", "check the path", address=f"oss://{BUCKET}/shop/picture"),
    "path with dots": Cause("InvalidPath", "'..'", address=f"oss://{BUCKET}/shop/../pictures"),
    "path of the manifest": Cause("InvalidPath", "the folder that holds it", address=f"{ADDRESS}/increment.meta"),
    "no manifest": Cause("NoSuchManifest", "exactly that name", lambda server: server.buckets[BUCKET].pop(MANIFEST)),
    "manifest renamed": Cause("NoSuchManifest", "exactly that name", renamed),
    "manifest of the folder above": Cause("NoSuchManifest", "be in that folder", address=f"oss://{BUCKET}/shop"),
    "manifest cut off": Cause(
        "NetworkException",
        "run again",
        lambda server: server.faults.update({f"{FOLDER}/increment.meta": [Fault("cut")] * 30}),
    ),
    "manifest with another CRC": Cause(
        "NetworkException",
        "run again",
        lambda server: server.faults.update({f"{FOLDER}/increment.meta": [Fault("crc")] * 30}),
    ),
}


def failed_import(shop: Shop, run: Run, cause: Cause) -> None:
    """Run into the cause, and look at all that is said."""
    server = shop.server
    shop.write([line(picture) for picture in copy_samples(shop.folder, 2)])
    cause.prepare(server)
    arguments = [*cause.arguments, *(["--role-arn", ARN, "--sts-endpoint", server.url] if cause.role else [])]
    env = {**server.environment(), "OSS_REGION": REGION, **shop.environment, **cause.env}
    result = run("oss-import", cause.address, *arguments, env=env)
    assert (result.returncode, result.document["Code"]) == (7, cause.code), result.stderr
    assert result.document["Success"] is False
    assert cause.way_out in result.document["Message"]
    assert result.stderr == f"imgsearch: {result.document['Message']}\n", "one line, and nothing of a library's"
    assert SECRET not in result.stdout + result.stderr
    assert not any(Path(shop.environment["TMPDIR"]).iterdir())
    assert not [key for key in server.fetched if key.endswith(".jpg")]


@pytest.mark.extended
@pytest.mark.parametrize("name", CAUSES)
def test_cause(shop: Shop, run: Run, folder: Path, name: str) -> None:
    """An instance that is there stays as it was."""
    Instance.create(folder)
    before = (folder / DATABASE_NAME).read_bytes()
    names = {path.name for path in folder.iterdir()}
    failed_import(shop, run, CAUSES[name])
    left = {path.name: path.stat().st_size for path in folder.iterdir() if path.name not in names}
    assert left.pop(f"{DATABASE_NAME}-wal", 0) == 0, "reading opens a write-ahead log, and nothing is in it"
    assert set(left) <= {f"{DATABASE_NAME}-shm"}
    assert (folder / DATABASE_NAME).read_bytes() == before


@pytest.mark.parametrize("name", ["unknown key", "no such role", "no policy", "wrong path", "no manifest"])
def test_cause_without_an_instance(shop: Shop, run: Run, folder: Path, name: str) -> None:
    """None is made before all checks have passed."""
    failed_import(shop, run, CAUSES[name])
    assert not folder.exists()


@pytest.mark.extended
def test_the_instance_has_the_last_word_on_the_region(shop: Shop, run: Run, folder: Path) -> None:
    """Another --region-id than the instance's is refused before any request, and so is an endpoint elsewhere."""
    shop.write([line(picture) for picture in copy_samples(shop.folder, 1)])
    assert run("init", "--region-id", "cn-beijing").returncode == 0
    result = shop.run(folder, "--region-id", REGION)
    assert (result.returncode, result.document["Code"]) == (7, "BucketRegionMismatch")
    assert not shop.server.counts
    result = shop.run(folder)
    assert (result.returncode, result.document["Code"]) == (7, "BucketRegionMismatch")
    assert run("info").document["TotalCount"] == 0


def test_causes_are_told_apart() -> None:
    """Each group of the documented causes has codes that no other group has."""
    groups = [
        {"NoCredentials"},
        {"InvalidAccessKeyId"},
        {"SignatureDoesNotMatch"},
        {"SecurityTokenExpired", "InvalidSecurityToken"},
        {"RequestTimeTooSkewed"},
        {"InvalidRoleArn"},
        {"RoleNotExist"},
        {"RoleNotAssumable"},
        {"InvalidRoleType"},
        {"AccessDenied"},
        {"BucketRegionMismatch"},
        {"InvalidBucketName"},
        {"NoSuchBucket"},
        {"InvalidPath"},
        {"NoSuchManifest"},
        {"InvalidEndpoint"},
        {"UnsupportedAnswer"},
        {"NetworkException"},
    ]
    assert {cause.code for cause in CAUSES.values()} == set().union(*groups)
    assert sum(map(len, groups)) == len(set().union(*groups))
