"""Sends events with the unmodified rudder-sdk-python.

    python rudder.py HOST WRITE_KEY COUNT [gzip|plain]

The SDK retries 429, 5xx and cut connections with the same messageId and a new sentAt.
"""

import sys

from rudderstack.analytics.client import Client
from told import line, marker, print_all

host, write_key, count, *packing = sys.argv[1:]
failed = []
client = Client(
    write_key,
    host=host,
    gzip=packing != ["plain"],
    upload_size=5,
    upload_interval=0.2,
    max_retries=10,
    on_error=lambda error, batch: failed.append(f"{error}: {len(batch)} events"),
)

lines = []
for index in range(int(count)):
    user_id, anonymous_id, mark = f"rudder-py-user-{index % 7}", f"rudder-py-device-{index % 7}", marker(index)
    url = f"https://shop.example/p/{index}?utm_source=news"
    told = line(user_id=user_id, anonymous_id=anonymous_id, marker=mark)
    match index % 6:
        case 0:
            told |= {"kind": "page", "name": "Home", "url": url}
            properties = {"url": url, "marker": mark}
            taken, event = client.page(user_id, name="Home", properties=properties, anonymous_id=anonymous_id)
        case 1:
            told |= {"kind": "conversion", "name": "Order Completed", "value": "19.99", "currency": "EUR"}
            properties = {"revenue": 19.99, "currency": "EUR", "marker": mark}
            taken, event = client.track(user_id, "Order Completed", properties, anonymous_id=anonymous_id)
        case 2:
            told |= {"kind": "identify"}
            traits = {"plan": "gold", "name": "Ännchen Ω 𝄞", "marker": mark}
            taken, event = client.identify(user_id, traits, anonymous_id=anonymous_id)
        case 3:
            told |= {"kind": "group", "group_id": "acme"}
            taken, event = client.group(user_id, "acme", {"seats": 3, "marker": mark}, anonymous_id=anonymous_id)
        case 4:
            told |= {"kind": "alias", "anonymous_id": None, "previous_id": anonymous_id}
            taken, event = client.alias(anonymous_id, user_id, context={"marker": mark})
        case _:
            told |= {"kind": "custom", "name": "Video Played"}
            taken, event = client.track(user_id, "Video Played", {"marker": mark}, anonymous_id=anonymous_id)
    if not taken:
        failed.append(f"event {index} did not fit the queue")
    told |= {"event_id": event["messageId"], "time": event["timestamp"]}
    lines.append(told)

client.flush()
client.join()
print_all(lines)
if failed:
    sys.exit("\n".join(failed))
