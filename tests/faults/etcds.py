"""The etcd of a row: one node or several, open or locked, and what its own client says of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from seawall.testing.etcd import (
    EtcdCluster,
    EtcdFailed,
    EtcdServer,
    find_binary,
    introduce,
    start_together,
)
from tests.faults.ledger import Lists, state_of

T = TypeVar("T")
NAMESPACE = "seawall"
ROOT = "--user=root:root"
_LOCK = (
    "user add root:root",
    "user grant-role root root",
    "user add app:secret",
    "role add app",
    f"role grant-permission app readwrite {NAMESPACE}/ --prefix=true",
    "user grant-role app app",
    "auth enable",
)


async def away(work: Callable[..., T], *args: Any) -> T:
    """Run something that blocks without stopping the loop."""
    return await asyncio.to_thread(work, *args)


@dataclass
class Etcd:
    """Its nodes, and how they are reached."""

    members: list[EtcdServer]
    user: str = ""
    """``name:password@``, for URLs."""
    query: str = ""
    """``&option=value...``, for URLs."""
    flags: tuple[str, ...] = ()
    """For ``etcdctl``."""

    def url(self, ttl: int, addresses: Sequence[str] = ()) -> str:
        """The registry URL; ``addresses`` in place of the members' own (a proxy's)."""
        hosts = ",".join(addresses or [member.address for member in self.members])
        return f"etcd://{self.user}{hosts}/{NAMESPACE}?ttl={ttl}{self.query}"

    async def ctl(self, *args: str, member: int = 0) -> str:
        """Run ``etcdctl`` against a member. Raises ``EtcdFailed``."""
        return await away(self.members[member].etcdctl, *self.flags, *args)

    async def entries(self) -> Lists:
        """By service and id, what etcd lists, read without any code of seawall's."""
        lines = (await self.ctl("get", "--prefix", f"{NAMESPACE}/")).splitlines()
        found: Lists = {}
        for key, value in zip(lines[::2], lines[1::2], strict=True):
            _, service, id_ = key.split("/")
            entry = json.loads(value)
            found.setdefault(service, {})[id_] = state_of(entry["Addr"], entry["Facts"])
        return found

    async def leases(self) -> list[str]:
        """The ids of all leases."""
        return (await self.ctl("lease", "list")).split()[3:]

    async def set_password(self, user: str, password: str) -> None:
        """As root. ``etcdctl`` reads it from stdin only."""
        command = [find_binary("etcdctl"), f"--endpoints={self.members[0].address}", *self.flags]
        command += ["user", "passwd", user, "--interactive=false"]
        run = partial(subprocess.run, command, input=f"{password}\n", text=True)
        done = await away(partial(run, capture_output=True))
        if done.returncode:
            raise EtcdFailed(f"etcdctl user passwd: {done.stderr.strip()}")

    async def leader(self) -> EtcdServer:
        return await away(self._leader)

    async def lead(self, member: EtcdServer) -> None:
        """Have this member lead the cluster."""
        leader = await self.leader()
        if leader is not member:
            status = await away(member.etcdctl, "endpoint", "status", "-w", "json")
            number = json.loads(status)[0]["Status"]["header"]["member_id"]
            await away(leader.etcdctl, "move-leader", f"{number:x}")

    def _leader(self) -> EtcdServer:
        cluster = EtcdCluster(0)
        cluster.members = self.members
        return cluster.leader

    async def start(self) -> None:
        await away(start_together, self.members)

    async def close(self) -> None:
        for member in self.members:
            await away(member.close)


async def single(_: Path) -> Etcd:
    """One node, open to everybody."""
    return await started(Etcd(members()))


async def cluster(_: Path) -> Etcd:
    """Three nodes."""
    return await started(Etcd(members(3)))


async def small(_: Path) -> Etcd:
    """One node with room for 1 MiB."""
    return await started(Etcd(members(1, f"--quota-backend-bytes={2**20}")))


async def locked(_: Path) -> Etcd:
    """One node that wants a password; tokens are void after 2 s without use."""
    nodes = members(1, "--bcrypt-cost=4", "--auth-token-ttl=2")
    etcd = await started(Etcd(nodes, user="app:secret@"), _LOCK)
    etcd.flags = (ROOT,)
    return etcd


async def mutual_tls(where: Path) -> Etcd:
    """One node that wants a certificate, and has one."""
    await away(_certificates, where)
    ca, cert, key = (str(where / name) for name in ("ca.pem", "client.pem", "client.key"))
    nodes = members(
        1,
        "--client-cert-auth", f"--trusted-ca-file={ca}",
        f"--cert-file={where}/server.pem", f"--key-file={where}/server.key",
        scheme="https",
    )  # fmt: skip
    flags = (f"--cacert={ca}", f"--cert={cert}", f"--key={key}")
    return await started(Etcd(nodes, query=f"&ca={ca}&cert={cert}&key={key}", flags=flags))


def members(size: int = 1, *args: str, scheme: str = "http") -> list[EtcdServer]:
    """Nodes that form a cluster, to be started."""
    nodes = [EtcdServer(*args, name=f"etcd{number}", scheme=scheme) for number in range(size)]
    introduce(nodes)
    return nodes


async def started(etcd: Etcd, commands: Sequence[str] = ()) -> Etcd:
    """Start it and run these commands of ``etcdctl``."""
    try:
        await etcd.start()
        for command in commands:
            await etcd.ctl(*command.split())
    except BaseException:
        await etcd.close()
        raise
    return etcd


def _certificates(where: Path) -> None:
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    _openssl(where, f"{new} -subj /CN=ca -keyout ca.key -out ca.pem")
    extra = "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:false"
    for name in ("server", "client"):
        signed = f"-CA ca.pem -CAkey ca.key -keyout {name}.key -out {name}.pem"
        _openssl(where, f"{new} -subj /CN={name} {extra} {signed}")


def _openssl(where: Path, command: str) -> None:
    done = subprocess.run(
        ["openssl", *command.split()], cwd=where, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EtcdFailed(f"openssl {command}: {done.stderr}")
