"""Mailgun's webhooks, signed and verified as its documentation says.

    python mailgun.py sign SIGNING_KEY N     N signed requests {"key", "headers", "body"}
    python mailgun.py verify                 reads such lines (or with `body64`), prints true or false

The signature lies in the body: hex HMAC-SHA256, by the signing key, of `timestamp` and `token` put together. It does not cover
the event. Old timestamps and used tokens are the receiver's to refuse: `verify` here looks at the signature alone.
"""

import base64
import hashlib
import hmac
import json
import secrets
import sys
import time
import uuid

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"


def client(bot, name="Mobile Safari", agent=PHONE):
    return {
        "ip": "203.0.113.7",
        "geolocation": {"city": "Berlin", "country": "DE", "region": "BE", "timezone": "Europe/Berlin"},
        "client-info": {
            "client-name": name,
            "client-os": "iOS",
            "client-type": "mobile browser",
            "device-type": "mobile",
            "user-agent": agent,
            "bot": bot,
        },
    }


def delivery_status(code, message, **more):
    return {
        "delivery-status": {
            "attempt-no": 1,
            "code": code,
            "message": message,
            "description": "",
            "session-seconds": 0.43,
            "tls": True,
            "mx-host": "mx.example.com",
            "certificate-verified": True,
            "utf8": True,
            **more,
        }
    }


KINDS = [
    {"event": "accepted", "log-level": "info", "method": "HTTP", "originating-ip": "192.0.2.10"},
    {"event": "delivered", "log-level": "info", **delivery_status(250, "OK")},
    {"event": "opened", "log-level": "info", **client("")},
    {"event": "opened", "log-level": "info", **client("apple", "Apple Mail", "Mozilla/5.0")},
    {"event": "opened", "log-level": "info", **client("gmail", "Gmail", "Mozilla/5.0 (via ggpht.com GoogleImageProxy)")},
    {"event": "clicked", "log-level": "info", "url": "https://shop.example/sale?utm_source=news", **client("")},
    {"event": "clicked", "log-level": "info", "url": "https://shop.example/", **client("generic", "unknown", "")},
    {"event": "unsubscribed", "log-level": "warn", **client("")},
    {"event": "complained", "log-level": "warn"},
    {
        "event": "failed",
        "severity": "permanent",
        "reason": "bounce",
        "log-level": "error",
        **delivery_status(550, "5.1.1 The email account that you tried to reach does not exist", **{"bounce-code": "5.1.1"}),
    },
    {
        "event": "failed",
        "severity": "temporary",
        "reason": "generic",
        "log-level": "warn",
        **delivery_status(452, "4.2.2 The recipient's inbox is out of storage space", **{"retry-seconds": 600}),
    },
]


def event(index):
    recipient = f"recipient+{index}@example.com"
    return {
        "id": secrets.token_urlsafe(16),
        "timestamp": time.time() - 60 + index / 1000,
        "account": {"id": "1234567890303a4bd1f33898"},
        "domain": {"name": "shop.example"},
        **KINDS[index % len(KINDS)],
        "message": {
            "headers": {
                "to": recipient,
                "message-id": f"20261126180000.{index}.{uuid.uuid4().hex[:16]}@shop.example",
                "from": "Shop <news@shop.example>",
                "subject": "Späte Angebote 𝄞",
            },
            "attachments": [],
            "size": 3410,
        },
        "envelope": {"transport": "smtp", "sender": "news@shop.example", "sending-ip": "198.51.100.3", "targets": recipient},
        "recipient": recipient,
        "recipient-domain": "example.com",
        "campaigns": [],
        "tags": ["news", "spring"],
        "flags": {"is-routed": False, "is-authenticated": True, "is-system-test": False, "is-test-mode": False},
        # Without any, Mailgun sends an empty array here.
        "user-variables": [] if index % 5 == 4 else {"user_id": f"user-{index}", "campaign_id": "spring-2026"},
    }


def signature_of(key, timestamp, token):
    return hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()


def sign(key, count):
    for index in range(count):
        timestamp, token = str(int(time.time())), secrets.token_hex(25)
        signature = {"token": token, "timestamp": timestamp, "signature": signature_of(key, timestamp, token)}
        body = json.dumps({"signature": signature, "event-data": event(index)}, ensure_ascii=index % 2 == 0)
        headers = {"Content-Type": "application/json", "User-Agent": "mailgun/treq-24.9.1"}
        print(json.dumps({"key": key, "headers": headers, "body": body}))


def verify(line):
    body = base64.b64decode(line["body64"]) if "body64" in line else line["body"]
    try:
        given = json.loads(body)["signature"]
        expected = signature_of(line["key"], given["timestamp"], given["token"])
        return hmac.compare_digest(expected.encode(), given["signature"].encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


match sys.argv[1:]:
    case ["sign", key, count]:
        sign(key, int(count))
    case ["verify"]:
        for text in sys.stdin:
            if text.strip():
                print("true" if verify(json.loads(text)) else "false")
    case _:
        sys.exit(__doc__)
