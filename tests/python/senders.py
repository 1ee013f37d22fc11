"""Clients of formats other than OpenTelemetry's, as their users use them. Arguments: which one, and where it sends to."""

import sys
import urllib.request


def statsd(host, port):
    import statsd as etsy
    from datadog.dogstatsd import DogStatsd

    clients = {"py": etsy.StatsClient, "stream": etsy.TCPStatsClient}
    for prefix, kind in clients.items():
        client = kind(host, int(port), prefix=prefix)
        for _ in range(5):
            client.incr("orders", 2)
        client.timing("checkout", 320)
        client.gauge("queue", 7)
        client.gauge("queue", 3, delta=True)
        client.set("users", "anna")
        client.set("users", "ben")
        client.set("users", "anna")
        client.close()
    # No aggregation and no telemetry of its own: each call is a line.
    dog = DogStatsd(host=host, port=int(port), disable_telemetry=True, disable_buffering=True, constant_tags=["env:prod"])
    for _ in range(4):
        dog.increment("tagged.orders", tags=["region:eu", "canary"])
    dog.histogram("tagged.size", 12.5, tags=["region:eu"])
    dog.distribution("tagged.size", 80, tags=["region:eu"])
    dog.event("An event", "which is not kept")
    dog.flush()


def syslog(host, port):
    """Python's own handler, which ends each message with a zero byte and sends no time."""
    import logging
    import logging.handlers
    import socket

    for transport, kind in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
        handler = logging.handlers.SysLogHandler((host, int(port)), facility="local0", socktype=kind)
        handler.ident = f"python-{transport}: "
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger = logging.getLogger(transport)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
        for number in range(25):
            logger.warning("request %d failed", number)
        handler.close()


def series(host, port, count):
    """A sample each for so many series."""
    from datadog.dogstatsd import DogStatsd

    dog = DogStatsd(host=host, port=int(port), disable_telemetry=True, disable_buffering=True)
    for number in range(int(count)):
        dog.increment("many", tags=[f"number:{number}"])
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

    failed = []

    def send(body):
        body = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        try:
            assert urllib.request.urlopen(request).status == 202
        except Exception as error:  # py_zipkin would only log it
            failed.append(error)

    common = {"transport_handler": send, "encoding": Encoding.V2_JSON, "sample_rate": 100.0}
    with zipkin_span(service_name="front", span_name="GET /", kind=Kind.SERVER, use_128bit_trace_id=True, **common) as root:
        root.update_binary_annotations({"http.method": "GET"})
        with zipkin_span(service_name="front", span_name="pay", kind=Kind.CLIENT) as child:
            child.add_sa_binary_annotation(port=443, service_name="bank", host="10.0.0.7")
            child.add_annotation("retry")
    try:
        with zipkin_span(service_name="worker", span_name="job", **common):
            raise ValueError("no paper")
    except ValueError:
        pass
    assert not failed, failed


def opentelemetry(url):
    """OpenTelemetry's exporter for Zipkin, which tells the status and the scope by tags of its own."""
    from opentelemetry.exporter.zipkin.json import ZipkinExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanKind, Status, StatusCode

    provider = TracerProvider(resource=Resource.create({"service.name": "depot"}))
    exporter = ZipkinExporter(endpoint=url)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("shelves", "1.2.3")
    for number in range(50):
        with tracer.start_as_current_span("POST /pick", kind=SpanKind.SERVER) as parent:
            parent.set_attribute("number", number)
            with tracer.start_as_current_span("reserve") as child:
                child.add_event("waited", {"ms": 5})
                if number % 10 == 0:
                    child.set_status(Status(StatusCode.ERROR, "no stock"))
    provider.shutdown()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
