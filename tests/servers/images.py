"""Docker images for tests: made of this machine's real binaries, since an image can't always be pulled.

A file system as small as can be: the servers, a shell and what they are linked with.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from iotd.config.sections.servers import Stack as StackSettings
from iotd.model.errors import StackError
from iotd.stack import engine
from iotd.stack.binaries import RedisBinaries, find_influxd
from tests.servers.needs import lacking


@dataclass(frozen=True)
class Images:
    """Names of images, as the settings take them."""

    redis: str
    influxdb: str | None
    page: str
    """Serves a page, where RedisInsight would: that image can't be made here."""


def make_images(redis: RedisBinaries) -> Images:
    """Makes the images where they are missing; the influxd one only where there is an influxd."""
    try:
        engine.connect().close()
    except StackError as e:
        lacking("docker", str(e))
    tools = {f"/bin/{tool}": _found(tool) for tool in ("sh", "sleep")}
    made = _make(
        "redis",
        tools
        | {
            "/opt/redis-stack/bin/redis-server": redis.server,
            "/opt/redis-stack/bin/redis-cli": redis.server.with_name("redis-cli"),
            "/opt/redis-stack/lib/redistimeseries.so": redis.module,
        },
    )
    serve = "mkdir -p /tmp/page && echo hello >/tmp/page/index.html && trap 'exit 0' TERM; "
    serve += "busybox httpd -f -p $RI_APP_PORT -h /tmp/page & wait"
    page = _make("page", {"/bin/busybox": _found("busybox"), "/bin/sh": _found("busybox")}, ("/bin/sh", "-c", serve))
    influxd = find_influxd(StackSettings())
    if influxd is None:
        return Images(made, None, page)
    with_curl = tools | {"/usr/local/bin/influxd": influxd, "/bin/curl": _found("curl")}
    return Images(made, _make("influxdb", with_curl), page)


def _found(tool: str) -> Path:
    found = shutil.which(tool)
    assert found is not None, f"{tool} is not on PATH"
    return Path(found)


def _make(name: str, files: Mapping[str, Path], entrypoint: Sequence[str] = ()) -> str:
    files = dict(files)
    for binary in list(files.values()):
        files |= library_files(binary)
    digest = hashlib.sha256(json.dumps(entrypoint).encode())
    for place, path in sorted(files.items()):
        digest.update(f"{place} {path} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    image = f"iotd-test-{name}:{digest.hexdigest()[:12]}"
    client = engine.connect()
    try:
        if not engine.has_image(client, image):
            repository, _, tag = image.partition(":")
            with engine.engine_errors(image):
                changes = [f"ENTRYPOINT {json.dumps(entrypoint)}"] if entrypoint else None
                client.api.import_image_from_data(_packed(files), repository=repository, tag=tag, changes=changes)
    finally:
        client.close()
    return image


def _packed(files: Mapping[str, Path]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        # folders that are not named would be for their owner only
        for folder in sorted({str(parent) for place in files for parent in Path(place).parents}):
            info = tarfile.TarInfo(folder.lstrip("/") or ".")
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for place, path in files.items():
            info = tarfile.TarInfo(place.lstrip("/"))
            data = path.read_bytes()
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


@cache
def library_files(binary: Path) -> dict[str, Path]:
    """What a program is linked with: the files by the places where the loader looks for them."""
    said = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    found = re.findall(r"(?:=> )?(/\S+) \(0x", said)
    return {path: Path(path).resolve() for path in found}
