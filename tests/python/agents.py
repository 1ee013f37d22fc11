"""Clients of formats other than OpenTelemetry's, as their users use them. Arguments: which one, and where it sends to."""

import sys
import urllib.request


def statsd(host, port):
    import statsd as etsy
    from datadog.dogstatsd import DogStatsd

    for client in (etsy.StatsClient(host, int(port), prefix="py"), etsy.TCPStatsClient(host, int(port), prefix="py")):
        for _ in range(5):
            client.incr("orders", 2)
        client.timing("checkout", 320)
        client.gauge("queue", 7)
        client.gauge("queue", 3, delta=True)
        client.set("users", "anna")
        client.set("users", "ben")
        client.close()
    # No aggregation and no telemetry of its own: each call is a line.
    dog = DogStatsd(host=host, port=int(port), disable_telemetry=True, disable_buffering=True, constant_tags=["env:prod"])
    for _ in range(4):
        dog.increment("tagged.orders", tags=["region:eu", "canary"])
    dog.histogram("tagged.size", 12.5, tags=["region:eu"])
    dog.distribution("tagged.size", 80, tags=["region:eu"])
    dog.event("An event", "which is not kept")
    dog.flush()


def fluent(host, port):
    from fluent import event, sender

    for nanoseconds in (False, True):
        app = sender.FluentSender("shop", host=host, port=int(port), nanosecond_precision=nanoseconds)
        for number in range(10):
            record = {"message": f"order {number}", "level": "error", "number": number, "nested": {"a": [1, None]}}
            assert app.emit("orders", record), app.last_error
        app.close()
    sender.setup("global", host=host, port=int(port))
    event.Event("follow", {"from": "a", "to": "b", "service": "social"})
    sender.close()


def zipkin(url):
    from py_zipkin import Encoding, Kind
    from py_zipkin.zipkin import zipkin_span

    def send(body):
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        assert urllib.request.urlopen(request).status == 202

    common = {"transport_handler": send, "encoding": Encoding.V2_JSON, "sample_rate": 100.0}
    with zipkin_span(service_name="front", span_name="GET /", kind=Kind.SERVER, use_128bit_trace_id=True, **common) as root:
        root.update_binary_annotations({"http.method": "GET"})
        with zipkin_span(service_name="front", span_name="pay", kind=Kind.CLIENT) as child:
            child.add_remote_endpoint(port=443, ipv4="10.0.0.7", service_name="bank")
            child.add_annotation("retry")
    try:
        with zipkin_span(service_name="worker", span_name="job", **common):
            raise ValueError("no paper")
    except ValueError:
        pass


globals()[sys.argv[1]](*sys.argv[2:])
