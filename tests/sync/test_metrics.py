"""What the calls of a sync client are counted as."""

import threading

import seawall.sync
from seawall.telemetry import catalogue
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc
from tests.telemetry.measured import measured, series

__all__ = ["measured"]

SERVICE = "seawall.tests.Echo"
SAY = f"{SERVICE}/Say"


def test_calls_of_many_threads(measured, servers, url):
    servers.start()
    with seawall.sync.connect(url) as channel:
        stub = pb_grpc.EchoStub(channel)

        def work():
            for _ in range(25):
                stub.Say(pb.EchoRequest(text="x"))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert series(measured, catalogue.CALL_DURATION) == {(SAY, SERVICE, "OK"): 100}
        assert series(measured, catalogue.ATTEMPT_DURATION) == {(SAY, SERVICE, "OK"): 100}
        assert series(measured, catalogue.ENDPOINTS)[SERVICE, "ready"] == 1
        assert series(measured, catalogue.EVENTS)["EndpointConnected",] == 1


def test_a_stream(measured, servers, url):
    servers.start()
    with seawall.sync.connect(url) as channel:
        stub = pb_grpc.EchoStub(channel)
        assert len(list(stub.Count(pb.EchoRequest(count=3)))) == 3
        assert series(measured, catalogue.ATTEMPT_STARTED) == {(f"{SERVICE}/Count", SERVICE): 1}
