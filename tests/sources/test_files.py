"""Pictures in the file system (cli.md, ``add PATH…``).

Contract: folders are walked in a stable order; PicName is the path relative to the folder that was named, with ``/``,
and ProductId follows from it or from the options; what cannot be used fails alone, visibly, without ending or blocking
the rest; a token is only given for a version of a file that can be told from the next one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imgsearch.errors import NothingFound, PictureTooLarge, UnreadableSource
from imgsearch.shards import Shard, shard_of
from imgsearch.sources.files import (
    PICTURE_SUFFIXES,
    FilePicture,
    FileRequest,
    find_pictures,
    operations,
    pictures_under,
)
from imgsearch.sources.walking import PassedOver, Selection
from imgsearch.types import AddPicture, Refused
from imgsearch.values import Attributes, Key, Location, PictureOptions, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLAIN = FileRequest()


def tree(root: Path, *names: str) -> Path:
    """Make files (and the folders they lie in), each holding its own name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, errors="surrogateescape")
    return root


def run(*paths: Path, request: FileRequest = PLAIN) -> list[AddPicture | Refused]:
    return list(operations(paths, request))


def added(*paths: Path, request: FileRequest = PLAIN) -> list[AddPicture]:
    """All operations, none of them refused."""
    found = run(*paths, request=request)
    assert not [item for item in found if isinstance(item, Refused)]
    return [item for item in found if isinstance(item, AddPicture)]


def names(*paths: Path, request: FileRequest = PLAIN) -> list[str]:
    return [item.key.pic_name for item in added(*paths, request=request)]


def refusal(*paths: Path, request: FileRequest = PLAIN) -> Refused:
    """The one refusal that is all there is."""
    (found,) = run(*paths, request=request)
    assert isinstance(found, Refused)
    assert "\n" not in found.error.message
    return found


# Walking


def test_a_folder_is_walked_in_a_stable_order(tmp_path: Path) -> None:
    tree(tmp_path, "b.jpg", "a/2.jpg", "a/1.jpg", "a/z/0.jpg", "c/1.jpg", "B.jpg", "a.jpg", "a10.jpg", "a9.jpg")
    expected = ["B.jpg", "a/1.jpg", "a/2.jpg", "a/z/0.jpg", "a.jpg", "a10.jpg", "a9.jpg", "b.jpg", "c/1.jpg"]
    assert names(tmp_path) == expected
    assert names(tmp_path) == expected


def test_the_paths_keep_their_order(tmp_path: Path) -> None:
    tree(tmp_path, "b/1.jpg", "a/1.jpg", "c.jpg")
    found = added(tmp_path / "c.jpg", tmp_path / "b", tmp_path / "a")
    assert [Path(item.source) for item in found] == [tmp_path / name for name in ("c.jpg", "b/1.jpg", "a/1.jpg")]


def test_it_starts_before_it_has_seen_everything(tmp_path: Path) -> None:
    """A catalogue of millions is not listed first."""

    def paths() -> Iterator[Path]:
        yield tree(tmp_path, "a.jpg") / "a.jpg"
        pytest.fail("the second path was asked for")

    first = next(operations(paths(), PLAIN))
    assert isinstance(first, AddPicture)


def test_which_files_of_a_folder_are_pictures(tmp_path: Path) -> None:
    """By suffix, in any letter case; what a file named by itself is called does not matter."""
    pictures = [f"x{suffix}" for suffix in PICTURE_SUFFIXES] + ["Y.JPG", "z.JpEg", "two.dots.png", " .gif"]
    others = ["a.txt", "b", "c.jpg.txt", "d.jpg~", "e.svg", "f.pdf", "g.mp4", "jpg", "h.", "i.jxl"]
    tree(tmp_path, *pictures, *others)
    assert sorted(names(tmp_path)) == sorted(pictures)
    for name in others:
        assert names(tmp_path / name) == [name]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm"])
def test_every_supported_format_has_its_suffixes(suffix: str) -> None:
    assert f".{suffix}" in PICTURE_SUFFIXES


HIDDEN = (".a.jpg", ".git/a.jpg", ".thumbnails/large/a.jpg")
OF_SYSTEMS = ("._a.jpg", "@eaDir/a.jpg", "b/@eaDir/a.jpg", "__MACOSX/a.jpg")


def test_hidden_files_and_thumbnails_of_others_are_passed_over(tmp_path: Path) -> None:
    """Those of systems in any case."""
    tree(tmp_path, "a.jpg", "b/a.jpg", *HIDDEN, *OF_SYSTEMS)
    assert names(tmp_path) == ["a.jpg", "b/a.jpg"]
    assert sorted(names(tmp_path, request=FileRequest(include_hidden=True))) == sorted(["a.jpg", "b/a.jpg", *HIDDEN])


def test_what_is_named_is_taken_even_if_hidden(tmp_path: Path) -> None:
    tree(tmp_path, ".a.jpg", ".hidden/a.jpg", "@eaDir/a.jpg")
    assert names(tmp_path / ".a.jpg", tmp_path / ".hidden", tmp_path / "@eaDir") == [".a.jpg", "a.jpg", "a.jpg"]


def test_a_folder_called_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    tree(tmp_path, "x.jpg/1.jpg", "x.jpg/y.png/2.jpg")
    assert names(tmp_path) == ["x.jpg/1.jpg", "x.jpg/y.png/2.jpg"]


def test_a_folder_without_a_picture_is_told(tmp_path: Path) -> None:
    """With what is there instead; unless that is expected."""
    (tmp_path / "empty").mkdir()
    tree(tmp_path, "other/notes.txt", "other/.hidden.jpg", "some/a.jpg")
    assert "is its disk mounted?" in refusal(tmp_path / "empty").error.message
    other = refusal(tmp_path / "other").error
    assert isinstance(other, NothingFound)
    assert "1 Hidden, 1 NotAPicture" in other.message
    assert [type(item) for item in run(tmp_path / "other", tmp_path / "some")] == [Refused, AddPicture]
    assert run(tmp_path / "empty", tmp_path / "other", request=FileRequest(allow_empty=True)) == []


@pytest.mark.parametrize("spelled", ["a.jpg", "./a.jpg", "d/../a.jpg", "d/./../a.jpg"])
def test_one_file_is_one_item_however_its_path_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    tree(tmp_path, "a.jpg", "d/b.jpg")
    monkeypatch.chdir(tmp_path)
    (item,) = added(Path(spelled))
    assert (item.key, item.location) == (Key("a", "a.jpg"), Location(str(tmp_path)))


def test_accents_are_composed_in_keys(tmp_path: Path) -> None:
    """Names from systems that decompose them are those of others; the file is found under its own name."""
    tree(tmp_path, "e\u0301te\u0301/cre\u0300me.jpg")
    (item,) = added(tmp_path)
    assert item.key == Key("\u00e9t\u00e9/cr\u00e8me", "\u00e9t\u00e9/cr\u00e8me.jpg")
    assert item.location is not None
    assert item.location.path(item.key.pic_name).is_file()
    (item,) = added(tmp_path, request=FileRequest(product_from="parent"))
    assert item.key.product_id == "\u00e9t\u00e9"


def test_linked_folders_are_not_entered(tmp_path: Path) -> None:
    """Neither circles nor pictures twice; but a linked folder that is named itself is a folder."""
    tree(tmp_path, "a/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "x.jpg").symlink_to("..", target_is_directory=True)
    (tmp_path / "a" / "other").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "a") == ["1.jpg"]
    assert names(tmp_path / "a" / "other") == ["2.jpg"]


def test_linked_pictures_are_taken_under_the_links_name(tmp_path: Path) -> None:
    """Their location is where the link lies, so that it can be found again."""
    tree(tmp_path, "store/0815.jpg")
    (tmp_path / "shoes").mkdir()
    link = tmp_path / "shoes" / "red.jpg"
    link.symlink_to("../store/0815.jpg")
    for item in (*added(tmp_path / "shoes"), *added(link)):
        assert item.key == Key("red", "red.jpg")
        assert item.location is not None
        assert item.location.path("red.jpg") == link
        assert item.picture.read(100).data == b"store/0815.jpg"
    (item,) = added(link, request=FileRequest(product_from="parent"))
    assert item.key.product_id == "shoes"


def test_links_that_lead_nowhere_fail_alone(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "z.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "gone.jpg").symlink_to("missing")
    for request in (PLAIN, FileRequest(product_from="parent")):
        found = added(tmp_path, request=request)
        assert [item.key.pic_name for item in found] == ["a.jpg", "circle.jpg", "gone.jpg", "z.jpg"]
        for item in found[1:3]:
            with pytest.raises(UnreadableSource):
                item.picture.read(100)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Folders nested more deeply than Python calls functions, with a picture at the bottom."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 50):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("x.jpg", os.O_CREAT, dir_fd=here))
    os.close(here)
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # shutil.rmtree calls itself


def test_deep_folders(deep: Path) -> None:
    """The names below them are too long for ids, and are said to be; the rest goes on."""
    tree(deep, "d/a.jpg", "z.jpg")
    first, refused, last = run(deep)
    assert [item.key.pic_name for item in (first, last) if isinstance(item, AddPicture)] == ["d/a.jpg", "z.jpg"]
    assert isinstance(refused, Refused)
    assert refused.error.code in {"InvalidPicName", "InvalidProductId"}


def test_counting_finds_what_operations_try(tmp_path: Path) -> None:
    """For the progress bar; also where something is refused later."""
    tree(tmp_path, "a.jpg", "b/c.png", "b/note.txt", ".hidden.jpg")
    paths = [tmp_path, tmp_path / "b" / "note.txt", tmp_path / "missing", Path("x" * 300)]
    found = list(find_pictures(paths))
    assert found == [tmp_path / "a.jpg", tmp_path / "b" / "c.png", *paths[1:]]
    assert len(found) == len(run(*paths))
    assert len(list(find_pictures([tmp_path], Selection(include_hidden=True)))) == 3


# What cannot be read


@pytest.mark.parametrize(
    "name",
    ["missing.jpg", "missing/folder/a.jpg", "x" * 300, "d/" * 3000, "a\0b.jpg", "file/a.jpg", "circle", "\udcff.jpg"],
    ids=["file", "folder", "long name", "long path", "NUL", "below a file", "circle", "not UTF-8"],
)
def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "file", "good.jpg")
    (tmp_path / "circle").symlink_to("circle")
    refused, good = run(tmp_path / name, tmp_path / "good.jpg")
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, UnreadableSource)
    assert "\n" not in refused.error.message
    refused.source.encode()
    assert isinstance(good, AddPicture), "the rest goes on"


@contextmanager
def another_user() -> Iterator[None]:
    """Root may read everything, so that what must not be readable needs somebody else to read it."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError as error:
        pytest.skip(f"root that cannot become anybody else can read everything: {error}")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can reach; those of pytest are for their owner only."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_may_not_be_read_fails_alone(open_folder: Path) -> None:
    tree(open_folder, "a.jpg", "closed/b.jpg", "secret.jpg", "z.jpg")
    (open_folder / "secret.jpg").chmod(0)
    (open_folder / "closed").chmod(0)
    try:
        with another_user():
            found = run(open_folder, open_folder / "closed" / "b.jpg")
            assert [type(item) for item in found] == [AddPicture, Refused, AddPicture, AddPicture, Refused]
            for refused in (found[1], found[4]):
                assert isinstance(refused, Refused)
                assert isinstance(refused.error, UnreadableSource)
                assert "Permission denied" in refused.error.message
                assert "closed" in refused.source
            secret = found[2]
            assert isinstance(secret, AddPicture)
            with pytest.raises(UnreadableSource, match="Permission denied"):
                secret.picture.read(100)
            assert FilePicture(open_folder / "closed" / "b.jpg").token() is None
    finally:
        (open_folder / "closed").chmod(0o755)


def test_folders_without_a_picture_to_search_with(open_folder: Path) -> None:
    """What is empty, or closed, is told; an answer is never just nothing."""
    tree(open_folder, "closed/b.jpg", "empty/notes.txt", "empty/.hidden.jpg", "some/c.jpg")
    (open_folder / "closed").chmod(0)
    try:
        with another_user():
            told = {name: list(pictures_under(open_folder / name)) for name in ("closed", "empty", "some", "gone")}
    finally:
        (open_folder / "closed").chmod(0o755)
    for name, words in {"closed": "Permission denied", "empty": "there are no pictures in this folder"}.items():
        (refused,) = told[name]
        assert isinstance(refused, Refused)
        assert refused.source == str(open_folder / name)
        assert words in refused.error.message
    assert told["some"] == [open_folder / "some" / "c.jpg"]
    assert told["gone"] == [open_folder / "gone"], "which reading it tells"


def in_time(work: Callable[[], object]) -> object:
    """Fail instead of hanging."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert outcome, "it hangs"
    return outcome[0]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the whole path may be too long for a socket
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [fifo, unix_socket, folder])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe that nobody writes to would be waited for, for ever."""
    make(tmp_path / "x.jpg")
    outcome = in_time(lambda: FilePicture(tmp_path / "x.jpg").read(100))
    assert isinstance(outcome, UnreadableSource)


def test_a_pipe_among_pictures_fails_alone(tmp_path: Path) -> None:
    fifo(tree(tmp_path, "a.jpg") / "b.jpg")
    first, second = added(tmp_path)
    assert first.picture.read(100).data == b"a.jpg"
    assert isinstance(in_time(lambda: second.picture.read(100)), UnreadableSource)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless device here")
def test_a_device_is_not_read() -> None:
    with pytest.raises(UnreadableSource, match="not a regular file"):
        FilePicture(Path("/dev/zero")).read(100)


# Sizes


@pytest.mark.parametrize(
    ("size", "passes"), [(0, True), (1, True), (99, True), (100, False), (101, False), (5000, False)]
)
def test_the_limit_is_the_first_size_refused(tmp_path: Path, size: int, passes: bool) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * size)
    if passes:
        assert FilePicture(path).read(100).data == b"x" * size
    else:
        with pytest.raises(PictureTooLarge, match=rf"{size:,} bytes or more.*fewer than 100:"):
            FilePicture(path).read(100)


def test_a_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(2**40)
    begun = time.monotonic()
    with pytest.raises(PictureTooLarge):
        FilePicture(path).read(8 * 2**20)
    assert time.monotonic() - begun < 1


# Keys


def test_the_pic_name_is_the_path_below_the_folder_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the folder is written."""
    tree(tmp_path, "shop/shoes/red.jpg")
    monkeypatch.chdir(tmp_path / "shop" / "shoes")
    for path, name in {
        tmp_path: "shop/shoes/red.jpg",
        tmp_path / "shop": "shoes/red.jpg",
        Path(): "red.jpg",
        Path(".."): "shoes/red.jpg",
        Path("../../shop"): "shoes/red.jpg",
        Path(f"{tmp_path}//shop/./shoes/"): "red.jpg",
    }.items():
        (item,) = added(path)
        assert item.key == Key(name.removesuffix(".jpg"), name)
        assert item.location is not None
        assert item.location.path(name) == tmp_path / "shop/shoes/red.jpg"


def test_a_file_named_itself_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "shop/red.jpg")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "shop/red.jpg", Path("shop/red.jpg"), Path("shop/../shop/red.jpg")):
        (item,) = added(path)
        assert item.key == Key("red", "red.jpg")
        assert item.location == Location(str(tmp_path / "shop"))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (FileRequest(), ("shoes/red.v2", "shoes/red.v2.jpg")),
        (FileRequest(product_id="p"), ("p", "shoes/red.v2.jpg")),
        (FileRequest(product_from="parent"), ("shoes", "shoes/red.v2.jpg")),
        (FileRequest(product_id="p", product_from="parent"), ("p", "shoes/red.v2.jpg")),
    ],
    ids=["name", "given", "parent", "given wins"],
)
def test_where_the_product_id_comes_from(tmp_path: Path, request_: FileRequest, expected: tuple[str, str]) -> None:
    (item,) = added(tree(tmp_path, "shoes/red.v2.jpg"), request=request_)
    assert item.key == Key(*expected)


def test_the_parent_of_a_picture_in_the_named_folder_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a name, even where it is written as a dot."""
    tree(tmp_path, "shoes/red.jpg")
    monkeypatch.chdir(tmp_path / "shoes")
    for path in (Path(), Path("red.jpg"), tmp_path / "shoes"):
        (item,) = added(path, request=FileRequest(product_from="parent"))
        assert item.key == Key("shoes", "red.jpg")


def test_a_given_pic_name_keeps_the_file_findable(tmp_path: Path) -> None:
    tree(tmp_path, "IMG_1.jpg")
    (item,) = added(tmp_path / "IMG_1.jpg", request=FileRequest(product_id="p", pic_name="front.jpg"))
    assert item.key == Key("p", "front.jpg")
    assert item.location == Location(str(tmp_path), "IMG_1.jpg")
    assert item.location.path("front.jpg") == tmp_path / "IMG_1.jpg"
    (item,) = added(tmp_path / "IMG_1.jpg", request=FileRequest(pic_name="IMG_1.jpg"))
    assert item.key == Key("IMG_1", "IMG_1.jpg")
    assert item.location == Location(str(tmp_path))


def test_options_and_attributes_go_along(tmp_path: Path) -> None:
    options = PictureOptions(3, True, Region(0, 9, 0, 9))
    attributes = Attributes(custom_content="note", int_attr=1, str_attr4="red")
    for item in added(tree(tmp_path, "a.jpg", "b.jpg"), request=FileRequest(options=options, attributes=attributes)):
        assert (item.options, item.attributes) == (options, attributes)


@pytest.mark.parametrize(
    "name", ["a\nb.jpg", " .jpg", "ä 漢字 🙂.jpg", "-rf.jpg", "a'b\"c.jpg", "a\\b.jpg", "\x1b[31m.jpg", "a.b.c.jpg"]
)
def test_any_name_that_is_text_is_a_pic_name(tmp_path: Path, name: str) -> None:
    assert names(tree(tmp_path, name)) == [name]
    assert names(tmp_path / name) == [name]


def test_a_name_without_a_stem_or_suffix(tmp_path: Path) -> None:
    tree(tmp_path, ".jpg", "noname")
    assert [item.key for item in added(tmp_path / ".jpg", tmp_path / "noname")] == [
        Key(".jpg", ".jpg"),
        Key("noname", "noname"),
    ]


BAD_NAME = "bad\udcff.jpg"


@pytest.fixture
def undecodable(tmp_path: Path) -> Path:
    """A folder with a file whose name is not UTF-8."""
    try:
        return tree(tmp_path, "a.jpg", BAD_NAME, "c.jpg")
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")


@pytest.mark.parametrize(
    "request_",
    [FileRequest(), FileRequest(product_id="p"), FileRequest(product_id="p", pic_name="good.jpg")],
    ids=["plain", "product id", "both ids"],
)
def test_a_name_that_is_not_utf8_is_refused(undecodable: Path, request_: FileRequest) -> None:
    """It could be stored neither as a PicName nor as a location; the message can be printed."""
    refused = refusal(undecodable / BAD_NAME, request=request_)
    assert "not valid UTF-8" in refused.error.message
    assert refused.source.endswith(r"bad\xff.jpg")
    refused.source.encode()
    refused.error.message.encode()


def test_names_that_are_not_utf8_fail_alone(undecodable: Path) -> None:
    assert [type(item) for item in run(undecodable)] == [AddPicture, Refused, AddPicture]


def test_a_folder_whose_name_is_not_utf8(undecodable: Path) -> None:
    bad = tree(undecodable / "f\udcff", "a.jpg")
    assert "folder's name is not valid UTF-8" in refusal(bad).error.message
    (refused,) = (item for item in run(undecodable) if isinstance(item, Refused) and "f\\xff" in item.source)
    assert refused.error.code in {"InvalidPicName", "InvalidProductId"}


def test_a_name_too_long_for_an_id_is_refused(tmp_path: Path) -> None:
    name = "/".join(["d" * 200] * 3) + "/a.jpg"
    assert refusal(tree(tmp_path, name)).error.code in {"InvalidPicName", "InvalidProductId"}


# Tokens


def settle(path: Path, seconds_ago: float = 60) -> None:
    """Make a file look as if it had been left alone for a while, as far as one can."""
    then = time.time() - seconds_ago
    os.utime(path, (then, then))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files really were changed more than two seconds ago: ctime cannot be set."""
    path = tree(tmp_path_factory.mktemp("old"), *(f"{number}.jpg" for number in range(12)))
    time.sleep(2.1)
    return path


@pytest.mark.extended
def test_the_token_of_an_unchanged_file_stays(old: Path) -> None:
    source = FilePicture(old / "0.jpg")
    token = source.token()
    assert token is not None
    assert source.token() == token
    assert source.read(100).token == token
    assert FilePicture(old / "1.jpg").token() != token


def test_a_file_just_written_has_no_token(tmp_path: Path) -> None:
    """It could change again without its times showing it."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    source = FilePicture(path)
    assert source.token() is None
    content = source.read(100)
    assert (content.data, content.token) == (b"one", None)


def change_bytes(path: Path) -> None:
    path.write_bytes(b"others")


def change_bytes_behind_the_back(path: Path) -> None:
    """The same length, the same time of change: what backup programs are known to miss."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_another(path: Path) -> None:
    (path.with_suffix(".new")).write_bytes(path.read_bytes())
    path.with_suffix(".new").replace(path)


def touch(path: Path) -> None:
    settle(path, 3600)


CHANGES = (change_bytes, change_bytes_behind_the_back, replace_by_another, touch)


@pytest.fixture(scope="module")
def tokens(old: Path) -> dict[str, list[bytes | None]]:
    """Tokens of changed files: before, right afterwards, and when the change is old enough to be told apart."""
    sources = {change.__name__: FilePicture(old / f"{number}.jpg") for number, change in enumerate(CHANGES, start=2)}
    found = {name: [source.token()] for name, source in sources.items()}
    for change in CHANGES:
        change(sources[change.__name__].path)
        found[change.__name__].append(sources[change.__name__].token())
    time.sleep(2.1)
    for name, source in sources.items():
        found[name] += [source.token(), source.read(100).token]
    return found


@pytest.mark.parametrize("change", [change.__name__ for change in CHANGES])
def test_a_changed_file_has_another_token(tokens: dict[str, list[bytes | None]], change: str) -> None:
    before, just_after, later, read_later = tokens[change]
    assert before is not None
    assert just_after is None
    assert later == read_later
    assert later not in (None, before)


def test_a_file_from_the_future_has_no_token(old: Path) -> None:
    settle(old / "7.jpg", -3600)
    assert FilePicture(old / "7.jpg").token() is None


def test_a_missing_file_has_no_token(tmp_path: Path) -> None:
    source = FilePicture(tmp_path / "a.jpg")
    assert source.token() is None
    with pytest.raises(UnreadableSource, match="No such file"):
        source.read(100)


# Shards


def test_the_shards_of_a_folder_make_up_the_whole(tmp_path: Path) -> None:
    """Each picture is of one shard, by its product; what is passed over is seen by all."""
    root = tree(tmp_path, *(f"p{number % 20}/{number}.jpg" for number in range(60)), "notes.txt")
    request = FileRequest(product_from="parent")
    whole = {one.key for one in added(root, request=request)}
    seen: list[Key] = []
    for index in range(3):
        shard, passed_over = Shard(index, 3), PassedOver()
        taken = [one for one in operations([root], request, passed_over, shard) if isinstance(one, AddPicture)]
        assert all(shard_of(one.key.product_id, 3) == index for one in taken)
        assert shard.others == len(whole) - len(taken)
        assert passed_over.counts.total() == 1
        seen += [one.key for one in taken]
    assert sorted(seen) == sorted(whole)


def test_files_given_by_name_are_of_the_shard_of_their_product(tmp_path: Path) -> None:
    """Also if they are missing; what is no picture by its name may be a folder, whose absence every shard tells."""
    given = [*(tree(tmp_path, f"{number}.jpg") / f"{number}.jpg" for number in range(8)), tmp_path / "missing.jpg"]
    shards = [Shard(index, 4) for index in range(4)]
    found = [list(operations([*given, tmp_path / "disk"], PLAIN, None, shard)) for shard in shards]
    sources = [Path(one.source) for some in found for one in some]
    assert sorted(path for path in sources if path.name != "disk") == sorted(given)
    assert [path.name for path in sources].count("disk") == 4
    assert [shard.others for shard in shards] == [len(given) - len(some) + 1 for some in found]


def test_an_empty_folder_is_told_by_every_shard(tmp_path: Path) -> None:
    """But one whose pictures are all of other shards is not empty."""
    (tmp_path / "empty").mkdir()
    root = tree(tmp_path / "one", "a.jpg")
    for index in range(2):
        (refused,) = operations([tmp_path / "empty"], PLAIN, None, Shard(index, 2))
        assert isinstance(refused, Refused)
        assert isinstance(refused.error, NothingFound)
    shard = Shard(1 - shard_of("a", 2), 2)
    assert list(operations([root], PLAIN, None, shard)) == []
    assert shard.others == 1


def test_a_name_that_cannot_be_used_is_refused_by_one_shard(undecodable: Path) -> None:
    found = [one for index in range(3) for one in operations([undecodable], PLAIN, None, Shard(index, 3))]
    assert len(found) == len(list(operations([undecodable], PLAIN)))
