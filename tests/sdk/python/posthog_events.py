"""Sends events with the unmodified posthog.

    python posthog_events.py HOST WRITE_KEY COUNT v0|v1

v0 (the SDK's default) posts to /batch/, v1 to /i/v1/analytics/events. Both retry 408, 429, 5xx and cut connections (v1 also
404) with the same uuid. The file is not named posthog.py: Python would take it for the SDK.
"""

import sys

from posthog import Posthog
from told import line, marker, print_all

host, write_key, count, mode = sys.argv[1:]
failed = []
heard = {}


def before_send(event):
    heard["event"] = event
    return event


posthog = Posthog(
    write_key,
    host=host,
    capture_mode=mode,
    gzip=mode == "v0",
    flush_at=5,
    flush_interval=0.2,
    max_retries=10,
    before_send=before_send,
    on_error=lambda error, batch: failed.append(f"{error}: {len(batch)} events"),
)

lines = []
for index in range(int(count)):
    user_id, mark = f"posthog-py-user-{index % 7}", marker(index)
    url = f"https://shop.example/p/{index}?utm_source=news"
    told = line(user_id=user_id, marker=mark)
    match index % 6:
        case 0:
            told |= {"kind": "page", "name": "$pageview", "url": url}
            properties = {"$current_url": url, "marker": mark}
            told["event_id"] = posthog.capture("$pageview", distinct_id=user_id, properties=properties)
        case 1:
            told |= {"kind": "conversion", "name": "Order Completed", "value": "19.99", "currency": "EUR"}
            properties = {"revenue": 19.99, "currency": "EUR", "marker": mark}
            told["event_id"] = posthog.capture("Order Completed", distinct_id=user_id, properties=properties)
        case 2:
            told |= {"kind": "identify", "name": "$set"}
            properties = {"plan": "gold", "name": "Ännchen Ω 𝄞", "marker": mark}
            told["event_id"] = posthog.set(distinct_id=user_id, properties=properties)
        case 3:
            told |= {"kind": "group", "name": "$groupidentify", "group_id": "acme"}
            properties = {"seats": 3, "marker": mark}
            told["event_id"] = posthog.group_identify("company", "acme", properties, distinct_id=user_id)
        case 4:
            # The marker is the other name itself: an alias has no properties of its own.
            told |= {"kind": "alias", "name": "$create_alias", "user_id": mark, "previous_id": user_id}
            told["event_id"] = posthog.alias(user_id, mark)
        case _:
            told |= {"kind": "custom", "name": "Video Played"}
            told["event_id"] = posthog.capture("Video Played", distinct_id=user_id, properties={"marker": mark})
    told["time"] = heard["event"]["timestamp"]
    lines.append(told)

posthog.shutdown()
print_all(lines)
if failed:
    sys.exit("\n".join(failed))
