"""Archives that are broken or hostile leave nothing behind (table in docs/data.md)."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import refuse, rows_of, snapshot, write_earlier_results
from published_broden import write_published_broden, zip_folder

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.zip_archive import ArchiveLimits, list_zip, unpack_zip
from net2vec_jax.data.broden.archive import prepare_broden
from net2vec_jax.data.broden.counts import ExpectedCounts

TOP = "broden1_227"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ExpectedCounts]:
    """A directory of the published shape, and what it counts to."""
    folder = tmp_path_factory.mktemp("content")
    return folder, write_published_broden(folder, images=4)


@pytest.fixture
def archive(tmp_path: Path, content: tuple[Path, ExpectedCounts]) -> Path:
    """A sound archive in a folder beside earlier results."""
    write_earlier_results(tmp_path)
    return zip_folder(content[0], tmp_path / "b.zip", top=TOP)


def add(name: str, body: bytes = b"hostile", *, mode: int = 0, system: int = 3):
    """A further member."""

    def damage(archive: Path) -> None:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name  # as it is; the constructor would mend it
        info.create_system = system
        info.external_attr = mode << 16
        with zipfile.ZipFile(archive, "a") as packed:
            packed.writestr(info, body)

    return damage


def add_twice(archive: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(f"{TOP}/index.csv", "image,split,ih,iw,sh,sw\n")


def add_bomb(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"{TOP}/{number}.bin", bytes(40_000_000))


def add_large(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(f"{TOP}/large.bin", bytes(2_000_000))


def compress_otherwise(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_BZIP2) as packed:
        packed.writestr(f"{TOP}/more.txt", "more")


def change_directory_entry(archive: Path, name: str, offset: int, value: bytes) -> None:
    """Overwrite bytes of a member's entry in the directory at the end of the archive."""
    data = bytearray(archive.read_bytes())
    place = -1
    while True:
        place = data.index(b"PK\x01\x02", place + 1)
        length = struct.unpack_from("<H", data, place + 28)[0]
        if data[place + 46 : place + 46 + length] == name.encode():
            data[place + offset : place + offset + len(value)] = value
            archive.write_bytes(data)
            return


def encrypt(archive: Path) -> None:
    change_directory_entry(archive, f"{TOP}/README.txt", 8, b"\x01\x00")


def overlap(archive: Path) -> None:
    size = struct.pack("<I", archive.stat().st_size)
    change_directory_entry(archive, f"{TOP}/README.txt", 20, size)


def announce_less(archive: Path) -> None:
    change_directory_entry(archive, f"{TOP}/index.csv", 24, struct.pack("<I", 20))


def announce_more(archive: Path) -> None:
    change_directory_entry(archive, f"{TOP}/README.txt", 24, struct.pack("<I", 1000))


def damage_member(archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        info = packed.getinfo(f"{TOP}/label.csv")
    data = bytearray(archive.read_bytes())
    data[info.header_offset + 30 + len(info.filename) + 40] ^= 0xFF
    archive.write_bytes(data)


def pack_again(archive: Path, keep: Callable[[str], bool], *, also: str | None = None) -> None:
    with zipfile.ZipFile(archive) as packed:
        files = {name: packed.read(name) for name in packed.namelist() if not name.endswith("/")}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, body in files.items():
            if keep(name):
                packed.writestr(name, body)
                if also:
                    packed.writestr(name.replace(TOP, also), body)


REFUSED: dict[str, Callable[[Path], object]] = {
    "archive missing": lambda archive: archive.unlink(),
    "archive that is none": lambda archive: archive.write_bytes(b"<html>not found</html>"),
    "archive cut off": lambda archive: archive.write_bytes(archive.read_bytes()[:-2000]),
    "archive of zero bytes": lambda archive: archive.write_bytes(b""),
    "archive with a damaged member": damage_member,
    "member that leads out": add("../../evil.txt"),
    "member that leads out from inside": add(f"{TOP}/images/../../../evil.txt"),
    "member with an absolute path": add("/outside/evil.txt"),
    "member with a Windows path": add("..\\evil.txt"),
    "member on a Windows drive": add("C:evil.txt", system=0),
    "member with control characters in its name": add(f"{TOP}/a\nb.txt"),
    "member that is a symbolic link": add(f"{TOP}/link", b"/etc", mode=stat.S_IFLNK | 0o777),
    "member that is a device": add(f"{TOP}/zero", b"", mode=stat.S_IFCHR | 0o666),
    "member twice": add_twice,
    "member that is a file and a folder": add(f"{TOP}/index.csv/evil.txt"),
    "member that is encrypted": encrypt,
    "member compressed in an unusual way": compress_otherwise,
    "zip bomb": add_bomb,
    "zip bomb of members that share their bytes": overlap,
    "member larger than it announces": announce_less,
    "member smaller than it announces": announce_more,
    "archive of something else": lambda archive: pack_again(
        archive, lambda name: not name.endswith("label.csv")
    ),
    "archive with two datasets": lambda archive: pack_again(
        archive, lambda name: True, also="another"
    ),
    "archive that lacks images": lambda archive: pack_again(
        archive, lambda name: "ade20k/0000" not in name
    ),
}


def test_every_case_is_documented() -> None:
    assert set(rows_of(__file__, "test_archives_that_are_refused")) == set(REFUSED)


@pytest.mark.parametrize("case", REFUSED)
def test_archives_that_are_refused(
    archive: Path, content: tuple[Path, ExpectedCounts], case: str
) -> None:
    REFUSED[case](archive)
    data = archive.parent / "data"
    data.mkdir()
    (data / f"{TOP}.lock").touch()
    row = rows_of(__file__, "test_archives_that_are_refused")[case]
    refuse(
        row, archive.parent, lambda: prepare_broden(data, 227, archive=archive, expected=content[1])
    )


@pytest.mark.parametrize(
    ("limits", "case"),
    [
        (ArchiveLimits(members=10), "archive with too many members"),
        (ArchiveLimits(total_bytes=10_000), "archive too large"),
    ],
)
def test_archives_beyond_the_limits(archive: Path, limits: ArchiveLimits, case: str) -> None:
    row = rows_of(__file__, "test_archives_beyond_the_limits")[case]
    refuse(row, archive.parent, lambda: unpack_zip(archive, archive.parent / "to", limits=limits))
    refuse(row, archive.parent, lambda: list_zip(archive, limits=limits))


def test_what_lies_in_an_existing_directory_is_not_touched(archive: Path) -> None:
    row = rows_of(__file__, "test_what_lies_in_an_existing_directory_is_not_touched")[
        "directory that is there already"
    ]
    refuse(row, archive.parent, lambda: unpack_zip(archive, archive.parent / "runs"))


def test_a_sound_archive_is_unpacked_whole(
    archive: Path, content: tuple[Path, ExpectedCounts]
) -> None:
    """The law that the refusals are exceptions from."""
    unpack_zip(archive, archive.parent / "to", below=f"{TOP}/")
    assert {
        name: found
        for name, found in snapshot(archive.parent / "to").items()
        if isinstance(found, bytes)
    } == {name: found for name, found in snapshot(content[0]).items() if isinstance(found, bytes)}
    assert f"{TOP}/images/ade20k/0000.jpg" in list_zip(archive)


def test_every_cut_is_refused(archive: Path) -> None:
    whole = archive.read_bytes()
    for length in range(0, len(whole), len(whole) // 40):
        archive.write_bytes(whole[:length])
        with pytest.raises(Net2VecError, match=r"b\.zip is no zip archive, or is damaged"):
            unpack_zip(archive, archive.parent / "to")
        assert not (archive.parent / "to").exists()
