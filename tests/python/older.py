"""Sentry's client from before envelopes, which posts to `/store/`: a crash that the newer SDK tells too, and a log record. Argument: the DSN.
"""

import logging
import sys

import raven
import sentry_sdk
from raven.handlers.logging import SentryHandler
from raven.transport.http import HTTPTransport

dsn = sys.argv[1]
older = raven.Client(dsn, transport=HTTPTransport, release="1.0.0", environment="test", site="east")
sentry_sdk.init(dsn=dsn, release="2.0.0", environment="test")


def price(cart, item):
    return cart[item]


for number in range(3):
    try:
        price({}, f"item-{number}")
    except KeyError:
        older.user_context({"id": f"customer-{number}"})
        older.captureException()
        sentry_sdk.capture_exception()
log = logging.getLogger("stock")
log.addHandler(SentryHandler(older))
log.propagate = False
log.warning("stock of %s is low", "pens")
sentry_sdk.flush(timeout=30)
assert older.state.should_try(), "the last request failed"
print("sent", flush=True)
