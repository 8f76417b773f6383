"""What the scripts here share: a word that is in one event alone, and the line that is printed of each event."""

import json
import os
import time

RUN = f"{int(time.time() * 1000):x}-{os.getpid()}"


def marker(index):
    return f"m-{RUN}-{index:06}"


def line(**fields):
    names = (
        "kind name event_id time user_id anonymous_id previous_id group_id value currency url marker"
    ).split()
    return dict.fromkeys(names) | fields


def print_all(lines):
    for one in lines:
        print(json.dumps(one))
