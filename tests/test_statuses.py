"""Typed errors by themselves: what may be given, what is packed, what is read from whom."""

import pickle
from base64 import b64encode

import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.descriptor_pb2 import UninterpretedOption
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as rpc
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from grpc.aio import AioRpcError
from hypothesis import given
from hypothesis import strategies as st

import seawall
from seawall.call import Call, Failure, Method
from seawall.server.calls.statuses import ROOM, status_of
from seawall.statuses import kind_of
from seawall.statuses.details import FieldViolation, Resource, Violation
from seawall.statuses.wire import KEY
from seawall.transport.sync.errors import sync_error_of
from seawall.transport.translate import PUSHBACK, error_of
from tests.protos import echo_pb2 as pb

PATH = "/shop.v1.Inventory/GetStock"
CODES = [code for code in StatusCode if code is not StatusCode.OK]
REFUSALS = [
    kind for kind in seawall.Refused.__subclasses__() if kind.__module__ == "seawall.errors"
]
FULL = {
    "reason": "OUT_OF_STOCK",
    "domain": "shop.example",
    "info": {"sku": "X1"},
    "field_violations": (FieldViolation("sku", "must not be empty", "EMPTY"),),
    "retry_after": 1.5,
    "resource": Resource("sku", "X1", "shop", "a rope"),
    "violations": (Violation("user:42", "has not agreed", "TERMS"),),
    "localized": ("de", "ausverkauft"),
    "links": (("how", "https://example.com/how"),),
}
"""Each keyword with a value, as it is read again."""


def arrived(code=StatusCode.NOT_FOUND, trailing=(), refusal=None, details="gone"):
    """What a client raises for a failure with this trailing metadata."""
    inner = AioRpcError(code, (), tuple(trailing), details, "")
    failure = Failure(code, details, error=None if refusal else inner, refusal=refusal)
    return error_of(Call(Method.from_path(PATH), 0.0, None), failure)


def sent(error, trailing=()):
    """What a client raises for what a handler raised."""
    code, details, told = status_of(PATH, error, trailing)
    return arrived(code, told or trailing, details=details)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_each_code_has_a_public_class_that_is_raised_and_caught(code):
    kind = kind_of(code)
    assert getattr(seawall, kind.__name__) is kind and kind("so").code() is code
    caught = sent(kind("so"))
    assert isinstance(caught, kind) and isinstance(caught, seawall.CallError)
    assert caught.code() is code and caught.details() == "so"


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED])
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_is_of_the_class_of_its_code_too(refusal, code):
    error = arrived(code, refusal=refusal)
    assert isinstance(error, refusal) and isinstance(error, kind_of(code))
    assert error.refusal is refusal and error.reason == ""
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, refusal) and isinstance(copy, kind_of(code))


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_all_details_arrive_as_they_were_given(code):
    kept = dict(FULL)
    if code is StatusCode.RESOURCE_EXHAUSTED:  # a quota has no type
        kept["violations"] = (Violation("user:42", "has not agreed"),)
    for error in (kind_of(code)("so", **FULL), sent(kind_of(code)("so", **FULL))):
        read = {name: getattr(error, name) for name in FULL}
        assert read == (kept if isinstance(error, seawall.CallError) else FULL)


def test_a_plain_error_sends_no_details_and_has_none():
    assert status_of(PATH, seawall.NotFound("gone")) == (StatusCode.NOT_FOUND, "gone", ())
    for error in (seawall.NotFound("gone"), arrived()):
        empty = {name: getattr(error, name) for name in FULL}
        assert not any(empty.values()) and empty["retry_after"] is None
        assert error.status() == Status(code=5, message="gone") and error.unpack(pb.EchoReply) == []


def test_short_forms():
    error = seawall.InvalidArgument(
        field_violations={"sku": "must not be empty"},
        violations=[("user:42", "blocked"), Violation("user:43", "blocked", "BLOCK")],
        resource=["sku", "X1"],
        info={"left": 0},
        retry_after=-0.001,
        localized=None,
    )
    assert error.field_violations == (("sku", "must not be empty", ""),)
    assert error.violations == (("user:42", "blocked", ""), ("user:43", "blocked", "BLOCK"))
    assert error.resource == ("sku", "X1", "", "") and error.info == {"left": "0"}
    assert error.retry_after == 0.0 and error.localized is None and error.details() == ""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"feild_violations": {}}, "no 'feild_violations'; known: domain, field_violations"),
        ({"field_violations": "sku"}, "field_violations must be a mapping"),
        ({"field_violations": ["sku"]}, r"field_violations: \(field, description, reason\)"),
        ({"field_violations": [("sku",)]}, "is expected"),
        ({"violations": 1}, "violations must be a mapping"),
        ({"resource": "sku"}, r"resource: \(type, name, owner, description\)"),
        ({"info": ["sku"]}, "info must be a mapping"),
        ({"retry_after": "1"}, "retry_after must be seconds"),
        ({"retry_after": True}, "retry_after must be seconds"),
        ({"retry_after": float("nan")}, "retry_after must be a finite number"),
        ({"retry_after": float("inf")}, "retry_after must be a finite number"),
        ({"links": [("a", "b", "c")]}, r"links: \(description, url\)"),
        ({"localized": ("de",)}, r"localized: \(locale, text\)"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(wrong, words):
    with pytest.raises((TypeError, ValueError), match=words):
        seawall.InvalidArgument("so", **wrong)


def test_only_messages_are_details_by_position():
    with pytest.raises(TypeError, match="protobuf messages, not dict"):
        seawall.InvalidArgument("so", {"sku": "X1"})


def test_a_class_of_ones_own_may_set_its_code_but_not_ok():
    class Sold(seawall.StatusError):
        status_code = StatusCode.FAILED_PRECONDITION

    assert isinstance(sent(Sold("so")), seawall.FailedPrecondition)
    for wrong in (StatusCode.OK, 5):
        with pytest.raises(TypeError, match="status_code of Odd"):
            type("Odd", (seawall.StatusError,), {"status_code": wrong})


def test_messages_of_any_kind_travel_and_any_is_not_wrapped_twice():
    packed = Packed()
    packed.Pack(Duration(seconds=7))
    error = sent(seawall.Aborted("so", pb.EchoReply(text="mine"), packed, reason="BUSY"))
    assert error.unpack(pb.EchoReply) == [pb.EchoReply(text="mine")]
    assert error.unpack(Duration) == [Duration(seconds=7)]
    assert error.unpack(rpc.ErrorInfo)[0].reason == "BUSY" and len(error.status().details) == 3


def test_a_message_that_can_not_be_packed_costs_itself_alone(caplog):
    lacking = UninterpretedOption.NamePart(name_part="no is_extension")
    error = sent(seawall.Aborted("so", lacking, pb.EchoReply(text="mine"), reason="BUSY"))
    assert error.reason == "BUSY" and len(error.unpack(pb.EchoReply)) == 1
    assert len(error.status().details) == 2
    assert "UninterpretedOption.NamePart can't be told" in caplog.text


def test_a_reasons_domain_is_the_service_unless_it_is_given():
    assert sent(seawall.NotFound("so", reason="GONE")).domain == "shop.v1.Inventory"
    assert sent(seawall.NotFound("so", reason="GONE", domain="x")).domain == "x"
    assert sent(seawall.NotFound("so", info={"a": "b"})).domain == ""


def test_retry_after_is_pushback_where_it_says_that_nothing_was_done():
    for kind in (seawall.Unavailable, seawall.ResourceExhausted):
        assert dict(status_of(PATH, kind(retry_after=0.0101))[2])[PUSHBACK] == "11"
    assert PUSHBACK not in dict(status_of(PATH, seawall.Aborted(retry_after=1))[2])
    assert dict(status_of(PATH, seawall.Unavailable(retry_after=1e300))[2])[PUSHBACK] == "9" * 9
    assert sent(seawall.Aborted(retry_after=1)).retry_after == 1.0
    assert arrived(StatusCode.UNAVAILABLE, [(PUSHBACK, "250")]).retry_after == 0.25


def test_the_handlers_own_trailing_metadata_is_kept():
    kept = (("colour", "red"), (PUSHBACK, "1"))
    told = status_of(PATH, seawall.Unavailable("so", retry_after=2), kept)[2]
    assert told[0] == ("colour", "red") and [v for k, v in told if k == PUSHBACK] == ["2000"]
    assert status_of(PATH, seawall.Unavailable("so"), kept)[2] == ()


# --- size ------------------------------------------------------------------------------------


def size_of(entries):
    return sum(
        32 + len(key) + len(value if isinstance(value, str) else b64encode(value))
        for key, value in entries
    )


def test_the_largest_detail_is_dropped_first_by_name(caplog):
    wrong = {f"items[{n}]": "must not be empty" for n in range(400)}
    error = sent(seawall.InvalidArgument("so", field_violations=wrong, reason="EMPTY"))
    assert error.reason == "EMPTY" and error.field_violations == ()
    assert "google.rpc.BadRequest of" in caplog.text and PATH in caplog.text


@given(
    st.text(max_size=3000),
    st.dictionaries(st.text(max_size=20), st.text(max_size=4000), max_size=3),
    st.lists(st.binary(max_size=6000), max_size=3),
    st.integers(0, 9000),
)
def test_no_error_is_larger_than_its_room(message, wrong, data, before):
    messages = (Packed(type_url="x/y", value=value) for value in data)
    error = seawall.InvalidArgument(message, *messages, field_violations=wrong, retry_after=1)
    kept = (("kept", "x" * before),)
    code, details, told = status_of(PATH, error, kept)
    encoded = sum(1 if 0x20 <= b <= 0x7E and b != 0x25 else 3 for b in details.encode())
    assert code is StatusCode.INVALID_ARGUMENT and encoded <= 2048
    assert told == () or told == kept or encoded + size_of(told) <= ROOM


@pytest.mark.parametrize("message", ["x" * 2048, "ü" * 341, "%" * 682])
def test_the_message_takes_its_share_of_the_room(message):
    sizes = []
    for length in range(1000, 6000, 20):
        error = seawall.NotFound(message, pb.EchoReply(text="x" * length))
        _, details, told = status_of(PATH, error)
        encoded = sum(1 if 0x20 <= b <= 0x7E and b != 0x25 else 3 for b in details.encode())
        sizes.append(encoded + size_of(told))
    assert ROOM - 40 < max(sizes) <= ROOM and sizes[-1] == encoded


def test_what_utf_8_does_not_have_is_spelt_out():
    error = sent(seawall.NotFound("no \ud800", resource=("sku", "\udfff"), info={"\ud800": "x"}))
    assert error.details() == r"no \ud800" and error.resource.name == r"\udfff"


def test_a_long_message_is_cut():
    for letter, width in (("x", 1), ("ü", 6), ("%", 3), ("\n", 3)):  # bytes of grpc-message
        cut = letter * (2044 // width) + " ..."
        assert sent(seawall.NotFound(letter * 5000)).details() == cut
    assert sent(seawall.NotFound("x" * 2048)).details() == "x" * 2048


# --- from servers that mean no good -----------------------------------------------------------


def read_all(error):
    values = [getattr(error, name) for name in FULL]
    values += [error.status(), error.unpack(rpc.ErrorInfo), error.unpack(pb.EchoReply)]
    return values


KINDS = [rpc.ErrorInfo, rpc.BadRequest, rpc.RetryInfo, rpc.Help, rpc.QuotaFailure]
PACKED = st.builds(
    lambda name, value: Packed(type_url=f"type.googleapis.com/{name}", value=value),
    st.sampled_from([kind.DESCRIPTOR.full_name for kind in KINDS]) | st.text(max_size=5),
    st.binary(max_size=40),
)


@given(st.binary(max_size=80) | st.text(max_size=20) | st.none())
def test_reading_any_bytes_raises_nothing(value):
    error = arrived(trailing=[(KEY, value)])
    read_all(error)
    assert isinstance(error, seawall.NotFound) and "NOT_FOUND" in str(error)


@given(st.lists(PACKED, max_size=4))
def test_reading_any_details_raises_nothing(details):
    status = Status(code=5, details=details)
    read_all(arrived(trailing=[(KEY, status.SerializeToString())]))


def test_what_can_be_read_is_read_beside_what_can_not():
    status = Status(code=5)
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    status.details.add(type_url="nothing")
    status.details.add().Pack(rpc.ErrorInfo(reason="GONE"))
    status.details.add().Pack(rpc.ErrorInfo(reason="SECOND"))
    for field in "ab":
        wrong = rpc.BadRequest.FieldViolation(field=field)
        status.details.add().Pack(rpc.BadRequest(field_violations=[wrong]))
    status.details.add().Pack(rpc.RetryInfo(retry_delay=Duration(seconds=-(2**63))))
    error = arrived(trailing=[(KEY, status.SerializeToString())])
    assert error.reason == "GONE" and [v.field for v in error.field_violations] == ["a", "b"]
    assert error.retry_after == 0.0 and len(error.unpack(rpc.ErrorInfo)) == 2


def test_grpcs_own_status_counts_if_the_details_have_another():
    status = Status(code=7, message="forged")
    status.details.add().Pack(rpc.ErrorInfo(reason="FORGED"))
    error = arrived(trailing=[(KEY, status.SerializeToString())])
    assert isinstance(error, seawall.NotFound) and not isinstance(error, seawall.PermissionDenied)
    assert error.details() == "gone" and error.reason == ""
    assert error.status() == Status(code=5, message="gone")


# --- copies, and who may let what through -----------------------------------------------------


def test_copies_have_the_same_details():
    raised = seawall.NotFound("so", pb.EchoReply(text="mine"), **FULL)
    caught = sent(raised)
    call = Call(Method.from_path(PATH), 0.0, None)
    sync = sync_error_of(call, Failure(caught.code(), "so", error=caught))
    for error in (raised, caught, sync):
        copy = pickle.loads(pickle.dumps(error))
        assert isinstance(copy, seawall.NotFound) and copy.details() == "so"
        assert {name: getattr(copy, name) for name in FULL} == FULL
        assert copy.unpack(pb.EchoReply) == [pb.EchoReply(text="mine")]


def test_a_dependencys_error_is_not_the_services_own():
    code, details, told = status_of(PATH, arrived(StatusCode.NOT_FOUND, details="secret"))
    assert code is StatusCode.INTERNAL and "secret" not in details and told == ()
    code, details, told = status_of(PATH, arrived(StatusCode.UNAVAILABLE, [(PUSHBACK, "1")]))
    assert code is StatusCode.UNAVAILABLE and "as a dependency did" in details and told == ()


def test_what_a_task_group_raises_for_one_error_is_that_error():
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [seawall.NotFound("gone")])])
    assert status_of(PATH, group)[:2] == (StatusCode.NOT_FOUND, "gone")
    two = ExceptionGroup("tasks", [seawall.NotFound("gone"), seawall.NotFound("too")])
    assert status_of(PATH, two)[0] is StatusCode.INTERNAL


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_errors_that_somebody_should_look_at_are_logged(code, caplog):
    status_of(PATH, kind_of(code)("broken"))
    faults = (StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS)
    assert ("broken" in caplog.text) == (code in faults)
