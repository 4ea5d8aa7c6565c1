"""What is counted, through the SDK's own reader."""

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import seawall
from tests.echo import failing
from tests.protos import echo_pb2 as pb


async def test_answers_in_place_of_a_servers_are_counted_by_kind(start, echo, monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    (await start()).hook = failing()
    for source in (pb.EchoReply(), pb.EchoReply(), lambda call, failure: pb.EchoReply()):
        with seawall.options(fallback=source):
            await echo.Say(pb.EchoRequest(text="hello"))
    (resource,) = reader.get_metrics_data().resource_metrics
    (metric,) = resource.scope_metrics[0].metrics
    assert metric.name == "seawall.client.fallbacks"
    counts = {
        point.attributes["seawall.fallback"]: point.value for point in metric.data.data_points
    }
    assert counts == {"value": 2, "function": 1}
    point = metric.data.data_points[0]
    assert point.attributes["rpc.method"] == "seawall.tests.Echo/Say"
    provider.shutdown()
