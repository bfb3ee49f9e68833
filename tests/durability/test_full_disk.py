"""A small file system that runs full for real: commands say so, keep what they told, and go on with room."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.durability.trials import Place, add_line, write_lines, write_pictures
from tests.storage.sqlite.test_database import in_mount, needs_root

PICTURES = 250
"""More than the file system takes."""

ON_A_FULL_DISK = """
import json, subprocess, sys
from pathlib import Path
from tests.durability.commands import BATCH
from tests.durability.trials import Place, content

folder = Path(sys.argv[1])
place = Place(folder.parent)

def run(*words):
    code = place.run(place.command([words[0], "-i", str(folder / "instance"), *map(str, words[1:])]))
    return code, json.loads(place.output.read_text().splitlines()[-1]), place.errors.read_text()

def fill():  # until there is not a single block left
    with (folder / "ballast").open("ab", buffering=0) as ballast:
        while True:
            try:
                ballast.write(bytes(512))
            except OSError:
                return

add = ("add", "--manifest", place.pictures / "increment.meta", "--format", "jsonl")
code, document, said = run(*add)
told, stored = len(place.lines()), len(content(folder / "instance"))
print(json.dumps(["add", code, document["Code"], said.splitlines()[-1].startswith("imgsearch: no space left in")]))
print(json.dumps([told > 40, stored in (told, told + BATCH)]))
fill()
for words in (add, ("rebuild",), ("delete", "p3")):
    code, document, said = run(*words)
    print(json.dumps([words[0], code, document["Code"]]))
for words in (("check", "--read-data"), ("info",), ("search", "--product-id", "p2", "--pic-name", "p2/4.jpg")):
    code, document, said = run(*words)
    print(json.dumps([words[0], code, document.get("Problems"), said]))
    if words[0] == "search":
        print(json.dumps(document["Auctions"][0]["PicName"]))
print(json.dumps(len(content(folder / "instance")) == stored))
(folder / "ballast").unlink()
subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
code, document, said = run(*add)
print(json.dumps([code, document["Added"] + document["Unchanged"], document["Unchanged"] == stored]))
print(json.dumps([run(*words)[0] for words in (("rebuild",), ("check", "--read-data"))]))
"""


@pytest.mark.extended
@needs_root
@pytest.mark.usefixtures("watching")
def test_a_disk_that_runs_full(tmp_path: Path) -> None:
    """Exit code 8 from what writes; reading goes on; with room, the same command goes on where it ended."""
    place = Place(tmp_path)
    place.home.mkdir()
    write_pictures(place, range(PICTURES))
    write_lines(place, [add_line(number) for number in range(PICTURES)])
    lines = in_mount(place.home, ON_A_FULL_DISK, "mount -t tmpfs -o size=600k none {0}")
    assert [json.loads(line) for line in lines] == [
        ["add", 8, "InstanceOverQuota", True],
        [True, True],
        ["add", 8, "InstanceOverQuota"],
        ["rebuild", 8, "InstanceOverQuota"],
        ["delete", 8, "InstanceOverQuota"],
        ["check", 0, [], ""],
        ["info", 0, None, ""],
        ["search", 0, None, ""],
        "p2/4.jpg",
        True,
        [0, PICTURES, True],
        [0, 0],
    ]
