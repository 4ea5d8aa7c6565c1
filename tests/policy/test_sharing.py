"""What goes on when another config is put in force."""

from seawall.policy.sharing import Shared

A, B, C = ("s", "A"), ("s", "B"), ("s", "C")


class Recorder:
    def __init__(self) -> None:
        self.made: list[str] = []
        self.shared = Shared[str, list[str]](self._make, list.append)

    def _make(self, policy: str) -> list[str]:
        self.made.append(policy)
        return [policy]


def test_methods_of_one_entry_have_one_state():
    world = Recorder()
    assert world.shared.of((A, B), "x") is world.shared.of((A, B), "x")
    assert world.shared.of((C,), "y") is not world.shared.of((A, B), "x")
    assert world.made == ["x", "y"]


def test_an_entry_goes_on_with_what_one_of_the_same_names_had():
    world = Recorder()
    world.shared.of((A, B), "x")
    world.shared.carry({(A, B): "z", (C,): "y"})
    assert world.shared.of((A, B), "z") == ["x", "z"]
    assert world.shared.of((C,), "y") == ["y"]


def test_of_several_that_name_the_same_the_very_same_goes_first():
    world = Recorder()
    first, second = world.shared.of((A,), "a"), world.shared.of((B,), "b")
    world.shared.carry({(A, B, C): "all", (B,): "only b"})
    assert world.shared.of((B,), "") is second
    assert world.shared.of((A, B, C), "") is first


def test_none_is_gone_on_with_twice():
    world = Recorder()
    world.shared.of((A, B), "x")
    world.shared.carry({(A,): "a", (B,): "b"})
    assert world.shared.of((A,), "a") == ["x", "a"]
    assert world.shared.of((B,), "b") == ["b"]


def test_what_nobody_names_any_more_is_forgotten():
    world = Recorder()
    world.shared.of((A,), "x")
    world.shared.carry({})
    world.shared.carry({(A,): "y"})
    assert world.shared.of((A,), "y") == ["y"]
