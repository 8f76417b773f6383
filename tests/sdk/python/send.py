"""Sends events with the unmodified segment-analytics-python and prints, one JSON line an event, what it handed in.

    python send.py HOST WRITE_KEY COUNT gzip|plain

Every fifth event is of another kind. Ids and times are the SDK's own.
"""

import json
import sys

from segment.analytics.client import Client

host, write_key, count, packing = sys.argv[1:]
failed = []
client = Client(
    write_key,
    host=host,
    gzip=packing == "gzip",
    upload_size=20,
    upload_interval=0.2,
    on_error=lambda error, batch: failed.append(f"{error}: {len(batch)} events"),
)

told = []
for index in range(int(count)):
    user_id, anonymous_id = f"python-user-{index % 7}", f"python-device-{index % 7}"
    match index % 5:
        case 0:
            properties = {"revenue": 19.99, "currency": "EUR", "index": index}
            taken, event = client.track(user_id, "Order Completed", properties, anonymous_id=anonymous_id)
        case 1:
            properties = {"url": f"https://shop.example/p/{index}?utm_source=news"}
            taken, event = client.page(user_id, name="Home", properties=properties, anonymous_id=anonymous_id)
        case 2:
            traits = {"plan": "gold", "name": "Ännchen Ω 𝄞"}
            taken, event = client.identify(user_id, traits, anonymous_id=anonymous_id)
        case 3:
            taken, event = client.group(user_id, "acme", {"seats": 3}, anonymous_id=anonymous_id)
        case _:
            taken, event = client.alias(anonymous_id, user_id)
    if not taken:
        failed.append(f"event {index} did not fit the queue")
    told.append(event)

client.shutdown()
for event in told:
    print(
        json.dumps(
            {
                "kind": event["type"],
                "name": event.get("event") or event.get("name"),
                "event_id": event["messageId"],
                "time": event["timestamp"],
                "user_id": event.get("userId"),
                "anonymous_id": event.get("anonymousId"),
                "previous_id": event.get("previousId"),
                "group_id": event.get("groupId"),
            }
        )
    )
if failed:
    sys.exit("\n".join(failed))
