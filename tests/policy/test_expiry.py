from seawall.call import Instance
from seawall.policy.expiry import ExpiryGuard


def instances(*ids: str) -> list[Instance]:
    return [Instance("shop.v1.Inventory", id_, f"10.0.0.1:{ord(id_)}") for id_ in ids]


def ids(doubted: list[Instance] | None) -> str | None:
    return None if doubted is None else "".join(sorted(one.id for one in doubted))


def test_half_is_believed_and_more_is_not():
    guard = ExpiryGuard(10.0)
    assert guard.vanish(instances(*"ab"), 4, 0.0) is None
    assert ids(ExpiryGuard(10.0).vanish(instances(*"abc"), 4, 0.0)) == "abc"


def test_those_that_went_first_are_doubted_with_the_others():
    guard = ExpiryGuard(10.0)
    assert guard.vanish(instances("a"), 5, 0.0) is None
    assert guard.vanish(instances("b"), 4, 3.0) is None
    assert ids(guard.vanish(instances("c"), 3, 9.0)) == "abc"


def test_the_last_ones_to_vanish_are_doubted_too():
    guard = ExpiryGuard(10.0)
    assert ids(guard.vanish(instances(*"abcdef"), 10, 0.0)) == "abcdef"
    assert ids(guard.vanish(instances(*"gh"), 4, 1.0)) == "abcdefgh"


def test_losses_that_are_far_apart_are_believed():
    guard = ExpiryGuard(10.0)
    assert guard.vanish(instances(*"ab"), 5, 0.0) is None
    assert guard.vanish(instances("c"), 3, 10.0) is None


def test_one_that_is_back_or_said_goodbye_no_longer_counts():
    guard = ExpiryGuard(10.0)
    assert guard.vanish(instances(*"ab"), 5, 0.0) is None
    guard.seen("ab")
    assert guard.vanish(instances("c"), 4, 1.0) is None


def test_the_dead_count_and_are_not_doubted_again():
    guard = ExpiryGuard(10.0)
    assert ids(guard.vanish(instances(*"abcdef"), 10, 0.0)) == "abcdef"
    guard.dead("abc")
    assert ids(guard.vanish(instances("g"), 4, 1.0)) == "defg"
    guard.seen("a")
    assert ids(guard.vanish(instances("a"), 4, 2.0)) == "adefg"


def test_the_only_instance_is_asked_too():
    assert ids(ExpiryGuard(10.0).vanish(instances("a"), 1, 0.0)) == "a"
    assert ExpiryGuard(10.0).vanish([], 0, 0.0) is None
