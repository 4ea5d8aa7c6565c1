"""A proto that nothing here has seen: generated on the spot, served and called with no line of
configuration beyond the registry's URL."""

import importlib
import sys
from pathlib import Path

import pytest
from grpc_tools import protoc

import seawall

PROTO = """
syntax = "proto3";
package unseen.v7;
message Word { string text = 1; }
service Speller {
  rpc One(Word) returns (Word) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Letters(Word) returns (stream Word);
  rpc Join(stream Word) returns (Word);
  rpc Upper(stream Word) returns (stream Word);
}
"""


@pytest.fixture
def generated(tmp_path: Path, monkeypatch):
    (tmp_path / "unseen.proto").write_text(PROTO)
    flags = [f"-I{tmp_path}", f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    assert protoc.main(["protoc", *flags, "unseen.proto"]) == 0
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("unseen_pb2"), importlib.import_module("unseen_pb2_grpc")
    for name in ("unseen_pb2", "unseen_pb2_grpc"):
        sys.modules.pop(name, None)


async def test_all_four_arities_work_at_once(generated, registry):
    pb, pb_grpc = generated

    class Speller(seawall.Service, pb_grpc.SpellerServicer):
        async def One(self, request, context):
            return pb.Word(text=request.text)

        async def Letters(self, request, context):
            for letter in request.text:
                yield pb.Word(text=letter)

        async def Join(self, request_iterator, context):
            return pb.Word(text="".join([word.text async for word in request_iterator]))

        async def Upper(self, request_iterator, context):
            async for word in request_iterator:
                yield pb.Word(text=word.text.upper())

    async with Speller(registry=registry), seawall.connect(registry) as fleet:
        stub = pb_grpc.SpellerStub(fleet)
        words = [pb.Word(text=letter) for letter in "abc"]
        assert (await stub.One(pb.Word(text="abc"))).text == "abc"
        assert [w.text async for w in stub.Letters(pb.Word(text="abc"))] == ["a", "b", "c"]
        assert (await stub.Join(iter(words))).text == "abc"
        assert [w.text async for w in stub.Upper(iter(words))] == ["A", "B", "C"]
