"""``KeyRing``: bytes become keys, or the file is refused; a reload that is refused leaves the keys as they are."""

from __future__ import annotations

from fuzz.checks import USAGE, check_error
from fuzz.files import folder, replaced
from imgsearch.errors import UsageError
from imgsearch.server.keys import KeyRing, new_key

PATH = folder() / "keys.toml"
USUAL = new_key("usual").encode()


def target(data: bytes) -> None:
    keys = KeyRing(replaced(PATH, USUAL))
    replaced(PATH, data)
    try:
        count = keys.reload()
    except UsageError as error:
        check_error(error, USAGE)
        assert [key.id for key in keys.all()] == ["usual"]
        return
    assert count == len(keys.all()) > 0
    for key in keys.all():
        assert key.secret not in repr(key)
        assert keys.find(key.id) is keys.login(key.id, key.secret) is key
        assert keys.login(key.id, key.secret + "x") is None
        assert all(key.may_use(name) for name in key.instances)
        assert isinstance(key.may_write, bool)
        try:
            assert new_key(key.id).count(key.id) >= 1
        except UsageError as error:
            check_error(error, USAGE)
    assert keys.login("nobody", "") is None
