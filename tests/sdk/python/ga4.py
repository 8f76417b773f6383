"""Sends events with the unmodified ga4mp, a client of GA4's Measurement Protocol.

    python ga4.py HOST API_SECRET COUNT [postponed|now]

The SDK does not retry: urllib raises, and that is all. So this hands the same events in again. `postponed` sends one event a
request with its `timestamp_micros`; there `events` is an object, not an array, as this SDK does it. `now` sends up to 25 a
request without a time, so a second try of these is told from the first by nothing on the wire but its parameters.
"""

import sys
import time
from datetime import datetime, timezone
from urllib.error import HTTPError, URLError

from ga4mp import GtagMP
from told import line, marker, print_all

host, api_secret, count, *mode = sys.argv[1:]
failed = []


def persist(ga4, send):
    for _ in range(20):
        try:
            return send()
        except (HTTPError, URLError, ConnectionError) as error:
            last = error
            if getattr(error, "code", 500) < 500:
                break
            time.sleep(0.1)
    ga4._event_list.clear()
    failed.append(str(last))


lines = []
for device in range(3):
    client_id = f"1234567890.{1700000000 + device}"
    ga4 = GtagMP(api_secret=api_secret, measurement_id="G-TEST", client_id=client_id)
    ga4._base_domain = f"{host}/mp/collect"
    user_id = f"ga4-user-{device}"
    ga4.store.set_user_property("user_id", user_id)
    ga4.store.set_user_property("plan", "gold")
    events = []
    for index in range(device, int(count), 3):
        mark = marker(index)
        told = line(user_id=user_id, anonymous_id=client_id, marker=mark)
        event = ga4.create_new_event(["page_view", "purchase", "video_start"][index // 3 % 3])
        told["name"] = event.get_event_name()
        event.set_event_param("marker", mark)
        match told["name"]:
            case "page_view":
                told |= {"kind": "page", "url": f"https://shop.example/p/{index}?utm_source=news"}
                event.set_event_param("page_location", told["url"])
                event.set_event_param("page_title", "Home Ännchen Ω 𝄞")
            case "purchase":
                told |= {"kind": "conversion", "value": "19.99", "currency": "EUR"}
                event.set_event_param("transaction_id", mark)
                event.set_event_param("value", 19.99)
                event.set_event_param("currency", "EUR")
            case _:
                told |= {"kind": "custom"}
                event.set_event_param("video_title", "intro")
        events.append(event)
        lines.append(told)
        if mode != ["now"]:
            ga4.send([event], postpone=True)
            at = event["_timestamp_micros"] / 1e6
            told["time"] = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="microseconds")
            persist(ga4, ga4.postponed_send)
    if mode == ["now"]:
        persist(ga4, lambda: ga4.send(events))

print_all(lines)
if failed:
    sys.exit("\n".join(failed))
