"""Base images, and Python packages, for machines that reach no image registry.

All images but Grafana's and Jaeger's can be replaced by one made of Debian's packages: it has
Python, etcd and Prometheus. The image of the shop is then built from wheels fetched outside.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

from tests.compose.engine import ROOT, Broken, Engine, run, say

SUITE: Final = "trixie"
PYTHON: Final = "3.13"
"""Of that suite."""
PACKAGES: Final = ("ca-certificates", "etcd-client", "etcd-server", "prometheus", "python3-venv")
MIRROR: Final = "http://deb.debian.org/debian"
IMAGE: Final = f"seawall-debian:{SUITE}"
KEPT: Final = ROOT / "build" / f"debian-{SUITE}.tar"
"""The root file system, for the next time."""
WHEELS: Final = ROOT / "build" / "wheels"

REPLACED: Final = ("PYTHON_IMAGE", "ETCD_IMAGE", "PROMETHEUS_IMAGE")


def from_registries() -> dict[str, str]:
    """The images of docker-compose.yml, by their variables."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    return {
        name: image for name, image in re.findall(r"\$\{(\w+):-([^}]+)}", text) if name in REPLACED
    }


def reachable(engine: Engine) -> bool:
    """Whether all images of the registries are here, or can be fetched."""
    for image in from_registries().values():
        if engine.docker("image", "inspect", image, check=False).returncode:
            try:
                fetched = engine.docker("pull", "--quiet", image, seconds=300, check=False)
            except Broken:
                return False
            if fetched.returncode:
                return False
    return True


def from_debian(engine: Engine, mirror: str) -> dict[str, str]:
    """Make the base image and fetch the wheels. Returns the variables for docker-compose.yml."""
    if not KEPT.exists():
        _bootstrap(mirror)
    if engine.docker("image", "inspect", IMAGE, check=False).returncode:
        say(f"importing {KEPT.name} as {IMAGE}")
        engine.docker("import", str(KEPT), IMAGE, seconds=300)
    _fetch_wheels()
    return {**dict.fromkeys(REPLACED, IMAGE), "PIP_NO_INDEX": "1"}


def _bootstrap(mirror: str) -> None:
    if shutil.which("debootstrap") is None:
        raise Broken("no image registry is reached, and debootstrap is not installed")
    say(f"debootstrap {SUITE}: {', '.join(PACKAGES)} (two minutes, once)")
    KEPT.parent.mkdir(exist_ok=True)
    # Not in /tmp: it may be mounted without devices.
    with tempfile.TemporaryDirectory(prefix="seawall-debian-", dir="/var/tmp") as name:
        run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}",
             SUITE, name, mirror],
            seconds=900,
        )  # fmt: skip
        root = Path(name)
        # As in Prometheus' own image: its volume belongs to nobody.
        (root / "prometheus").mkdir()
        shutil.chown(root / "prometheus", 65534, 65534)
        for unneeded in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
            shutil.rmtree(root / unneeded, ignore_errors=True)
        partial = KEPT.with_suffix(".partial")
        run(["tar", "--numeric-owner", "-C", name, "-cf", str(partial), "."], seconds=120)
        partial.rename(KEPT)


def _fetch_wheels() -> None:
    """All that the Dockerfile's build stage installs, for the Python of the base image."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    needed = [
        *document["build-system"]["requires"],
        *project["dependencies"],
        *project["optional-dependencies"]["otlp"],
    ]
    say(f"fetching wheels of {len(needed)} packages and of what they need")
    libc = [f"manylinux_2_{minor}" for minor in range(17, 42)] + ["manylinux2014", "linux"]
    tags = [f"--platform={name}_{platform.machine()}" for name in libc]
    run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
         "--dest", str(WHEELS), "--only-binary=:all:", f"--python-version={PYTHON}",
         "--implementation=cp", *tags, *needed],
        seconds=600,
    )  # fmt: skip
