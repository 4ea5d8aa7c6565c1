"""Rows on an etcd that wants a password or a certificate."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.etcds import locked, mutual_tls
from tests.faults.rows.single import killed_for, was_told
from tests.faults.scenario import Scenario
from tests.faults.stage import LIMIT, Stage

LATER = "seawall.tests.Later"


async def token_expired(stage: Stage) -> None:
    """Tokens last 2 s: who does nothing for longer has none, also when it then watches more."""
    await stage.hold(5)
    await stage.witness.watch(LATER)
    await stage.witness.sees({LATER: {}}, LIMIT)
    await stage.hold(4)


def token_was_renewed(stage: Stage) -> Iterator[str]:
    if stage.told("RegistryLost"):
        yield f"a token that expired was taken for an outage: {stage.told('RegistryLost')}"
    if stage.announcer.refusals:
        yield f"a change was refused: {stage.announcer.refusals}"


async def password_changed(stage: Stage) -> None:
    """Everybody must connect again, with a password that is wrong for longer than the lease."""
    await stage.etcd.set_password("app", "other")
    await stage.proxy.cut()
    await stage.proxy.mend()
    await stage.hold(8)
    await stage.etcd.set_password("app", "secret")


def password_was_named(stage: Stage) -> Iterator[str]:
    for who, texts in (
        ("the announcer", stage.announcer.refusals),
        ("the witness", stage.told("RegistryLost")),
    ):
        if not any("the password of user 'app'" in text for text in texts):
            yield f"{who} was not told that the password is wrong, but: {texts}"
        if any("secret" in text for text in texts):
            yield f"{who} was told the password: {texts}"


SCENARIOS = [
    Scenario(
        name="token-expired",
        fault="tokens expire after 2 s, again and again",
        strike=token_expired,
        seconds=9,
        within=3,
        etcd=locked,
        pause=2.5,
        restores=False,
        check=token_was_renewed,
    ),
    Scenario(
        name="password",
        fault="password changed and connections cut; mended after 8 s (TTL 5 s)",
        strike=password_changed,
        seconds=8,
        within=8,
        etcd=locked,
        ttl=5,
        proxied=True,
        check=password_was_named,
    ),
    Scenario(
        name="tls",
        fault="mutual TLS: single node killed, started again after 3 s",
        strike=killed_for(3),
        seconds=4,
        within=3,
        etcd=mutual_tls,
        restores=False,
        check=was_told,
    ),
]
