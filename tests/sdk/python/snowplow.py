"""Sends events with the unmodified snowplow-tracker.

    python snowplow.py HOST APP_ID COUNT post|get

The tracker retries cut connections and all but 400, 401, 403, 410 and 422, with the same eid and a new stm, which it cuts to
whole seconds. A failed one is put back and a timer of its own (about 0.5 s, then doubling) sends it again; a flush while that
timer runs does nothing. With get, of several events in one flush it looks at the last answer only and forgets those that failed
before: so this waits for each to be through before it hands in the next.
"""

import sys
import time
from datetime import datetime, timezone
from urllib.parse import urlsplit

from snowplow_tracker import (
    Emitter,
    PageView,
    SelfDescribing,
    SelfDescribingJson,
    StructuredEvent,
    Subject,
    Tracker,
)
from told import line, marker, print_all

host, app_id, count, method = sys.argv[1:]
through = set()
collector = urlsplit(host)
emitter = Emitter(
    collector.hostname,
    protocol="http",
    port=collector.port,
    method=method,
    batch_size=5 if method == "post" else 1,
    request_timeout=15,
    max_retry_delay_seconds=2,
    on_success=lambda events: through.update(event["eid"] for event in events),
)
tracker = Tracker("shop", emitter, app_id=app_id)
lines = []


def drain():
    end = time.monotonic() + 60
    while len(through) < len(lines) and time.monotonic() < end:
        tracker.flush()
        if len(through) < len(lines):
            time.sleep(0.05)


for index in range(int(count)):
    mark = marker(index)
    told = line(user_id=f"snowplow-py-user-{index % 7}", anonymous_id=f"device-{index % 7}", marker=mark)
    subject = Subject().set_platform("srv").set_user_id(told["user_id"]).set_domain_user_id(told["anonymous_id"])
    match index % 3:
        case 0:
            url = f"https://shop.example/p/{index}?utm_source=news&m={mark}"
            told |= {"kind": "page", "name": "Home", "url": url}
            event = PageView(url, "Home", "https://www.google.com/", event_subject=subject)
        case 1:
            told |= {"kind": "conversion", "name": "order_completed", "value": "19.99", "currency": "EUR"}
            data = {"revenue": 19.99, "currency": "EUR", "marker": mark, "name": "Ännchen Ω 𝄞"}
            schema = "iglu:com.acme/order_completed/jsonschema/1-0-0"
            event = SelfDescribing(SelfDescribingJson(schema, data), event_subject=subject)
        case _:
            told |= {"kind": "custom", "name": "play", "value": "2.5"}
            event = StructuredEvent("video", "play", mark, "intro", 2.5, event_subject=subject)
    told["event_id"] = tracker.track(event)
    at = event.payload.nv_pairs["dtm"] / 1000
    told["time"] = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")
    lines.append(told)
    if method == "get":
        drain()

drain()
print_all(lines)
if len(through) < len(lines):
    sys.exit(f"{len(lines) - len(through)} events were not sent")
