"""Sends the events on standard input through posthog-python, as a program that uses it would.

Arguments: the host, the project token. The environment chooses the protocol (POSTHOG_CAPTURE_MODE) and, on capture v1,
the compression (POSTHOG_CAPTURE_COMPRESSION).
"""

import json
import sys
from datetime import datetime

from posthog import Posthog

host, token = sys.argv[1:]
failures = []
client = Posthog(
    token,
    host=host,
    flush_at=40,
    gzip=True,
    on_error=lambda error, items: failures.append(error),
)
for event in json.load(sys.stdin):
    client.capture(
        event["event"],
        distinct_id=event["distinct_id"],
        uuid=event["uuid"],
        timestamp=datetime.fromisoformat(event["timestamp"]),
        properties=event["properties"],
    )
client.shutdown()
if failures:
    sys.exit(f"posthog-python reported {failures}")
