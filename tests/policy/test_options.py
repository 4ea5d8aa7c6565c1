"""``seawall.options``: what makes no sense is refused where it is said, by its name."""

import inspect
import warnings

import pytest

from seawall import options
from seawall.context import current_options
from tests.protos import echo_pb2 as pb


@pytest.mark.parametrize("delay", ["x", "0.1", None, 1j, [0.1], object()])
def test_a_delay_that_is_no_number_is_refused(delay):
    with pytest.raises(TypeError, match="hedge must be True, False or seconds above zero, not "):
        options(hedge=delay)


@pytest.mark.parametrize("delay", [0, -1, 0.0, float("nan"), float("inf")])
def test_a_delay_that_makes_no_sense_is_refused(delay):
    with pytest.raises(ValueError, match="hedge must be True, False or seconds above zero, not "):
        options(hedge=delay)


@pytest.mark.parametrize("key", [5, 5.0, True, ("a", "b"), object()])
def test_a_key_that_is_no_text_is_refused(key):
    with pytest.raises(TypeError, match=r"hash_key must be a str or bytes, not .*: give str\("):
        options(hash_key=key)


@pytest.mark.parametrize("name", ["vital", "CRITICAL", 2, None])
def test_a_class_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="criticality must be one of sheddable, "):
        options(criticality=name)


def test_a_coroutine_is_no_fallback():
    async def answer(call, failure):
        return pb.EchoReply()

    called = answer(None, None)
    with pytest.raises(TypeError, match="not a coroutine: give the async function itself"):
        options(fallback=called)
    called.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with options(fallback=answer):
            assert inspect.iscoroutinefunction(current_options.get()["fallback"])


def test_what_makes_sense_is_taken_and_holds_for_the_block_alone():
    message = pb.EchoReply(text="own")
    for given in (
        {"fallback": message},
        {"fallback": [message]},
        {"fallback": None},
        {"fallback": lambda *_: message},
        {"hedge": True},
        {"hedge": False},
        {"hedge": 1},
        {"hedge": 0.05},
        {"hash_key": "user-42"},
        {"hash_key": b"\x00\xff"},
    ):
        with options(**given):
            assert current_options.get() == given
        assert current_options.get() is None


def test_no_key_takes_back_that_of_an_outer_block():
    with options(hash_key="user-42", hedge=0.1):
        with options(hash_key=None):
            assert current_options.get() == {"hash_key": None, "hedge": 0.1}
        assert current_options.get()["hash_key"] == "user-42"


def test_options_that_are_refused_change_nothing():
    with options(hash_key="a"):
        with pytest.raises(TypeError):
            options(hash_key="b", hedge="x")
        assert current_options.get() == {"hash_key": "a"}
