"""Sends more events than the server takes. The SDK pauses for as long as the server says, throws away what comes meanwhile, and goes on
afterwards. Argument: the DSN.
"""

import sys
import time

import sentry_sdk

sentry_sdk.init(dsn=sys.argv[1], release="1.0.0")
transport = sentry_sdk.get_client().transport
paused = False
for number in range(60):
    sentry_sdk.capture_message(f"many {number}")
    sentry_sdk.flush(timeout=10)
    paused = paused or not transport.is_healthy()
assert paused, "nobody told it to pause"
while not transport.is_healthy():
    time.sleep(0.1)
time.sleep(1.5)  # one event a second passes
sentry_sdk.capture_message("afterwards")
sentry_sdk.flush(timeout=10)
print("sent", flush=True)
