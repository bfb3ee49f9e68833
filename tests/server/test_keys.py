"""The file of access keys."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from imgsearch.errors import UsageError
from imgsearch.server.keys import KeyRing, new_key

SECRET = "0123456789abcdef"
GOOD = f'[[key]]\nid = "web"\nsecret = "{SECRET}"\ninstances = ["shop", "other"]\nrights = "write"\n'


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "keys.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def test_keys_are_read(tmp_path: Path) -> None:
    """Rights are to read unless they are named."""
    more = '[[key]]\nid = "all"\nsecret = "ümläut-secret-of-length"\ninstances = ["*"]\n'
    ring = KeyRing(written(tmp_path, GOOD + more))
    web, everything = ring.find("web"), ring.find("all")
    assert web is not None
    assert everything is not None
    assert (web.secret, web.may_write, everything.may_write) == (SECRET, True, False)
    assert [web.may_use(name) for name in ("shop", "other", "third", "*")] == [True, True, False, False]
    assert everything.may_use("third")
    assert ring.find("nobody") is None


def test_a_key_of_nobody_stands_in_for_an_unknown_one(tmp_path: Path) -> None:
    """With a secret that nobody has, and no rights; its empty id is no way in."""
    ring, other = (KeyRing(written(tmp_path, GOOD)) for _ in range(2))
    dummy = ring.find_or_dummy("nobody")
    assert dummy.secret != other.find_or_dummy("nobody").secret
    assert len(dummy.secret) >= 32
    assert not dummy.may_write
    assert not dummy.may_use("shop")
    assert ring.login("", dummy.secret) is None
    assert ring.login("web", SECRET) is ring.find("web")
    assert ring.login("web", SECRET + "x") is None


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    key = KeyRing(written(tmp_path, GOOD)).find("web")
    assert SECRET not in repr(key)


@pytest.mark.skipif(os.name == "nt", reason="no modes on Windows")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601, 0o666])
def test_others_may_not_read_it(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UsageError, match="chmod 600"):
        KeyRing(written(tmp_path, GOOD, mode))


MALFORMED = {
    "empty": ("", "no \\[\\[key\\]\\] table"),
    "not TOML": ("[[key", "not valid TOML"),
    "not UTF-8": (b"\xff\xfe", "not valid TOML"),
    "a long number": (f"key = {'9' * 5_000}\n", "not valid TOML"),
    "many lists in lists": (f"key = {'[' * 3_000}\n", "not valid TOML"),
    "one table": ('[key]\nid = "a"\n', "no \\[\\[key\\]\\] table"),
    "a number": ("key = 1\n", "no \\[\\[key\\]\\] table"),
    "numbers": ("key = [1]\n", "key 1: it is no table"),
    "texts": ('key = ["id"]\n', "key 1: it is no table"),
    "another entry": (f"kee = 1\n{GOOD}", "unknown entry 'kee'"),
    "another field": (f"{GOOD}colour = 1\n", "unknown entry 'colour'"),
    "no id": (GOOD.replace('id = "web"\n', ""), "id must be"),
    "odd id": (GOOD.replace('"web"', '"we b"'), "id must be"),
    "id with a line break": (GOOD.replace('"web"', '"web\\n"'), "id must be"),
    "number as id": (GOOD.replace('"web"', "7"), "id must be"),
    "long id": (GOOD.replace('"web"', f'"{"w" * 65}"'), "id must be"),
    "no secret": (GOOD.replace(f'secret = "{SECRET}"\n', ""), "secret must be"),
    "short secret": (GOOD.replace(SECRET, SECRET[:-1]), "secret must be"),
    "no instances": (GOOD.replace('["shop", "other"]', "[]"), "instances must be"),
    "instance as text": (GOOD.replace('["shop", "other"]', '"shop"'), "instances must be"),
    "number as instance": (GOOD.replace('["shop", "other"]', "[1]"), "instances must be"),
    "other rights": (GOOD.replace('"write"', '"all"'), "rights must be"),
    "rights as list": (GOOD.replace('"write"', '["write"]'), "rights must be"),
    "twice": (GOOD + GOOD, "key 2: the id 'web' is there twice"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_told(tmp_path: Path, name: str) -> None:
    """Which key and what is wrong; never a secret."""
    text, message = MALFORMED[name]
    with pytest.raises(UsageError, match=message) as refusal:
        KeyRing(written(tmp_path, text))
    assert "keys.toml" in refusal.value.message
    assert SECRET[:-1] not in refusal.value.message


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        KeyRing(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"cannot be read|chmod"):
        KeyRing(tmp_path)


def test_reading_again(tmp_path: Path) -> None:
    """What is new counts, what is gone does not; a malformed file leaves the keys as they were."""
    path = written(tmp_path, GOOD)
    ring = KeyRing(path)
    written(tmp_path, GOOD.replace('"web"', '"app"'))
    assert ring.reload() == 1
    assert (ring.find("web"), ring.find("app") is None) == (None, False)
    written(tmp_path, "[[key")
    with pytest.raises(UsageError):
        ring.reload()
    assert ring.find("app") is not None


def test_a_new_key_is_a_table_to_append(tmp_path: Path) -> None:
    """Each with a secret of its own, for reading only."""
    tables = [new_key(name) for name in ("one", "two.A_b-c")]
    ring = KeyRing(written(tmp_path, "".join(tables)))
    keys = [ring.find("one"), ring.find("two.A_b-c")]
    assert all(key is not None and len(key.secret) >= 40 and not key.may_write for key in keys)
    assert len({tomllib.loads(table)["key"][0]["secret"] for table in tables}) == 2


@pytest.mark.parametrize("key_id", ["", "a b", 'a"', "a\n", "ü", "a" * 65])
def test_an_id_has_plain_characters(key_id: str) -> None:
    with pytest.raises(UsageError, match="letters, digits"):
        new_key(key_id)
