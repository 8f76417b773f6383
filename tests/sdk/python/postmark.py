"""Prints Postmark's webhooks, which are not signed (Basic auth, a header of one's own or the sender's address guard them).

    python postmark.py N     N requests {"headers", "body"}
"""

import json
import sys
import uuid
from datetime import datetime, timedelta, timezone

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
CLIENT = {
    "Client": {"Name": "Apple Mail", "Company": "Apple Inc.", "Family": "Apple Mail"},
    "OS": {"Name": "iOS 18", "Company": "Apple Inc.", "Family": "iOS"},
    "Platform": "Mobile",
    "UserAgent": PHONE,
    "Geo": {
        "CountryISOCode": "DE",
        "Country": "Germany",
        "RegionISOCode": "BE",
        "Region": "Berlin",
        "City": "Berlin",
        "Zip": "10115",
        "Coords": "52.5319,13.3846",
        "IP": "203.0.113.7",
    },
}


def bounce(kind, code, name, at, to, index):
    return {
        "RecordType": "SpamComplaint" if kind == "SpamComplaint" else "Bounce",
        # Larger than 2^53: not to be read as a float.
        "ID": 692560173 + index if kind == "SpamComplaint" else 9007199254740993 + index,
        "Type": kind,
        "TypeCode": code,
        "Name": name,
        "ServerID": 23,
        "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
        "Details": "smtp;550 5.1.1 The email account that you tried to reach does not exist",
        "Email": to,
        "From": "news@shop.example",
        "BouncedAt": at,
        "DumpAvailable": True,
        "Inactive": True,
        "CanActivate": kind != "SpamComplaint",
        "Subject": "Späte Angebote 𝄞",
        "Content": "<Full dump of bounce>",
    }


def record(index):
    # Postmark's times have seven digits of a second, some in UTC and some with an offset.
    at = (datetime.now(timezone.utc) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
    to = f"recipient+{index}@example.com"
    common = {
        "MessageID": str(uuid.uuid4()),
        "MessageStream": "outbound",
        "ServerID": 23,
        "Tag": "news",
        "Metadata": {"user_id": f"user-{index}", "campaign_id": "spring-2026"},
    }
    own = [
        {"RecordType": "Open", "FirstOpen": index % 2 == 0, "Recipient": to, "ReceivedAt": at, **CLIENT},
        {
            "RecordType": "Click",
            "ClickLocation": "HTML",
            "Recipient": to,
            "OriginalLink": "https://shop.example/sale?utm_source=news",
            "ReceivedAt": at,
            **CLIENT,
        },
        {
            "RecordType": "Delivery",
            "Recipient": to,
            "DeliveredAt": at.replace("0Z", "0+00:00"),
            "Details": "smtp;250 2.0.0 OK",
        },
        bounce("HardBounce", 1, "Hard bounce", at, to, index),
        bounce("SpamComplaint", 512, "Spam complaint", at, to, index),
        {
            "RecordType": "SubscriptionChange",
            "ChangedAt": at,
            "Recipient": to,
            "Origin": "Recipient",
            "SuppressSending": True,
            "SuppressionReason": "ManualSuppression",
        },
    ]
    return own[index % len(own)] | common


for index in range(int(sys.argv[1])):
    headers = {"Content-Type": "application/json", "User-Agent": "Postmark"}
    print(json.dumps({"headers": headers, "body": json.dumps(record(index), ensure_ascii=False)}))
