"""A base image with Python and the libraries that iotd needs, made of this machine's own: none can be pulled."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from iotd.stack import engine
from tests.servers.images import library_files

_ENVIRONMENT = ["ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV PIP_NO_INDEX=1", "ENV PIP_NO_BUILD_ISOLATION=0"]
"""With these pip takes what is there, and asks no index."""
_LEFT_OUT = re.compile(r"/(test|tests|idlelib|tkinter|ensurepip|__pycache__|config-[\w.-]+)(/|$)")


def make_base(client: Any) -> str:
    """Makes the image where it is missing, and returns its name; one with the same files is made but once."""
    packed = _packed()
    image = f"iotd-test-base:{hashlib.sha256(packed).hexdigest()[:12]}"
    if not engine.has_image(client, image):
        repository, _, tag = image.partition(":")
        client.api.import_image_from_data(packed, repository=repository, tag=tag, changes=_ENVIRONMENT)
    return image


def _distributions() -> list[str]:
    return sorted({"pip", *_closure("iotd"), *_closure("hatchling")})


def _packed() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
        prefix = Path(sys.base_prefix)
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        programs = {f"usr/local/bin/{name}": Path(sys.executable).resolve() for name in ("python3", version)}
        programs |= {"bin/sh": Path("/bin/sh")}
        site = f"usr/local/lib/{version}/site-packages"
        own = {f"{site}/{place}": path for name in _distributions() for place, path in _files(name)}
        linked = [*programs.values(), *(prefix / "lib" / version / "lib-dynload").glob("*.so")]
        linked += [path for path in own.values() if ".so" in path.suffixes]
        libraries: dict[str, Path] = {}
        for program in linked:
            libraries |= {at: path for at, path in library_files(program).items() if path not in own.values()}
        files = programs | {f"lib/{path.name}": path for path in libraries.values()}
        files |= {place.lstrip("/"): path for place, path in libraries.items()}
        files |= own
        # folders that are not named would be for root only
        named = {".", f"usr/local/lib/{version}", site}
        for folder in sorted({str(parent) for place in files for parent in Path(place).parents} - named):
            _put(tar, folder, None, 0o755)
        _put(tar, "tmp", None, 0o1777)
        for place, path in files.items():
            tar.add(path, place, recursive=False)
        tar.add(prefix / "lib" / version, f"usr/local/lib/{version}", filter=_wanted)
        pip = b"#!/usr/local/bin/python3\nfrom pip._internal.cli.main import main\nraise SystemExit(main())\n"
        _put(tar, "usr/local/bin/pip", pip, 0o755)
    return packed.getvalue()


def _put(tar: tarfile.TarFile, place: str, text: bytes | None, mode: int) -> None:
    info = tarfile.TarInfo(place)
    info.mode = mode
    if text is None:
        info.type = tarfile.DIRTYPE
    else:
        info.size = len(text)
    tar.addfile(info, io.BytesIO(text or b""))


def _wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    unwanted = _LEFT_OUT.search(info.name) or "/site-packages/" in info.name
    return None if unwanted else info


def _closure(name: str) -> set[str]:
    """What a distribution requires, with the extras that are asked for, and theirs; without itself if it is iotd."""
    seen: set[tuple[str, str]] = set()
    due = [(name, "")]
    while due:
        one, extra = due.pop()
        if (one, extra) in seen:
            continue
        try:
            requires = distribution(one).requires or []
        except PackageNotFoundError:
            continue  # for another system
        seen.add((one, extra))
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                due += [(requirement.name, wanted) for wanted in ("", *requirement.extras)]
    return {distribution(one).name for one, _ in seen} - {"iotd"}


def _files(name: str) -> Iterator[tuple[str, Path]]:
    made = distribution(name)
    for file in made.files or []:
        path = Path(str(made.locate_file(file)))
        if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
            yield str(file), path
