"""Crashes of five kinds, each told to Sentry's SDK and to OpenTelemetry's (as a span event and as a log record), caught in different
places. Besides: a transaction with a profile, a log, a check-in, a session, messages, one with an attachment, one that is held back; at the end the program itself dies of an exception.

Arguments: the DSN, the OTLP/HTTP endpoint, its key; `again`: only one crash of each kind, of a later release and another customer.
"""

import json
import logging
import sys
import time

import sentry_sdk
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from sentry_sdk.crons import monitor
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.sessions import track_session

dsn, endpoint, key = sys.argv[1:4]
again = sys.argv[4:] == ["again"]
release = "2.5.0" if again else "2.4.1"


def quiet(event, hint):
    """What it leaves out is told by a client report."""
    return None if event.get("message") == "nobody wants to know" else event


sentry_sdk.init(
    dsn=dsn, release=release, environment="test", traces_sample_rate=1.0, profiles_sample_rate=1.0, enable_logs=True, before_send=quiet
)
sentry_sdk.set_user({"id": "customer-9" if again else "customer-7"})

resource = Resource.create({"service.name": "checkout", "service.version": release, "deployment.environment.name": "test"})
headers = {"authorization": f"Bearer {key}"}
spans = TracerProvider(resource=resource)
spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", headers=headers)))
tracer = trace.get_tracer("crashes", tracer_provider=spans)
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{endpoint}/v1/logs", headers=headers)))
log = logging.getLogger("crashes")
log.propagate = False
log.addHandler(LoggingHandler(logger_provider=logs))
ignore_logger("crashes")


class PaymentDeclined(Exception):
    """The bank did not answer in time."""


def total(cart, item):
    return cart[item]


def load(session, name):
    return session[name]


def charge(order):
    raise PaymentDeclined(f"bank-{order % 7} did not answer within 2.0 s for order {order}")


def share(cart, parts):
    return (lambda sum: sum / parts)(17)


def read(text):
    return json.loads(text)


def reraise(at):
    try:
        load({}, f"hidden-{at}")
    except KeyError as error:
        raise PaymentDeclined(f"no session for order {at}") from error


KINDS = [
    lambda at: total({}, f"item-{at}"),
    lambda at: load({}, f"session-{at}"),
    lambda at: charge(at * 31),
    lambda at: share([at], 0),
    lambda at: read("{" + " " * at + "x"),
    reraise,
]


def inner(crash, at):
    """Caught where it happened: one call less is on the stack."""
    with tracer.start_as_current_span("inner"):
        try:
            crash(at)
        except Exception as error:
            sentry_sdk.capture_exception(error)
            log.exception("caught inside")
            raise


def outer(crash, at):
    """An error that passes through two spans is recorded by both."""
    with tracer.start_as_current_span("outer"):
        inner(crash, at)


def finish():
    spans.shutdown()
    logs.shutdown()
    sentry_sdk.flush(timeout=30)
    print("sent", flush=True)


if again:
    for crash in KINDS:
        try:
            outer(crash, 21)
        except Exception:
            pass
    finish()
    sys.exit(0)

for crash in KINDS:
    for at in range(1, 6):
        try:
            outer(crash, at)
        except Exception:
            pass
        try:
            crash(at + 10)
        except Exception as error:
            sentry_sdk.capture_exception(error)

with sentry_sdk.start_transaction(name="POST /order", op="http.server") as transaction:
    with sentry_sdk.start_span(op="db", name="SELECT * FROM orders WHERE id = 7"):
        pass
    with sentry_sdk.start_span(op="http.client", name="GET https://bank.example/v1/accounts/7"):
        sentry_sdk.capture_message("stock is low", level="warning")
    transaction.set_tag("region", "eu")
    time.sleep(0.5)  # a profile of less is not sent

sentry_sdk.logger.warning("cart {cart} is slow", cart=7)


@monitor(monitor_slug="nightly")
def nightly():
    pass


nightly()
with track_session(sentry_sdk.get_isolation_scope()):
    pass
with sentry_sdk.new_scope() as scope:
    scope.add_attachment(bytes=b"nothing that is kept", filename="cart.txt")
    sentry_sdk.capture_message("an attachment comes with it", level="info")
sentry_sdk.capture_message("nobody wants to know")
finish()
charge(1)
