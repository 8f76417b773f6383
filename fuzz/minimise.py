#!/usr/bin/env python3
"""Chooses what of a target's finds is worth a place in the repository: fuzz/minimise.py TARGET

Reads `corpus/TARGET` and `found/TARGET`, lets libFuzzer say which parts of the program each file reaches, and keeps in
`corpus/TARGET` those that together reach most: always the one next that adds most for its place and size, within FILES and BYTES.
Files with a name of their own stay: each was a crash once.
Build first: fuzz/run.sh TARGET 0
"""

import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FILES, BYTES, FILE_BYTES = 30, 60_000, 6_000

target = sys.argv[1]
folder = pathlib.Path(__file__).parent
host = next(line.split()[1] for line in subprocess.getoutput("rustc -vV").splitlines() if line.startswith("host"))
program = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", folder / "target")) / host / "release" / target
corpus = folder / "corpus" / target

with tempfile.TemporaryDirectory() as work:
    control, chosen = f"{work}/control", f"{work}/chosen"
    os.mkdir(chosen)
    # Edges alone: with counters and compared values nearly every file is like no other.
    options = ["-set_cover_merge=1", "-use_counters=0", "-use_value_profile=0", f"-merge_control_file={control}"]
    given = [path for path in (corpus, folder / "found" / target) if path.is_dir()]
    subprocess.run([program, *options, chosen, *given], check=True, capture_output=True, stdin=subprocess.DEVNULL)
    # Two numbers, then the names of the files; then `FT index feature..` for each.
    lines = open(control, encoding="utf-8", errors="surrogateescape").read().split("\n")
    names = lines[2 : 2 + int(lines[0])]
    reached = {}
    for line in lines[2 + len(names) :]:
        if line.startswith("FT "):
            index, *features = line.split()[1:]
            reached[names[int(index)]] = set(features)
    inputs = {name: open(name, "rb").read() for name in reached}

kept, seen, room = [], set(), BYTES
while len(kept) < FILES:
    fitting = [name for name in reached if len(inputs[name]) <= min(room, FILE_BYTES) and reached[name] - seen]
    if not fitting:
        break
    # A file takes one of FILES places and some of BYTES.
    best = max(fitting, key=lambda name: (len(reached[name] - seen) / (BYTES / FILES + len(inputs[name])), name))
    kept.append(best)
    seen |= reached.pop(best)
    room -= len(inputs[best])

everything = seen.union(*reached.values())
corpus.mkdir(parents=True, exist_ok=True)
for path in corpus.iterdir():
    if re.fullmatch("[0-9a-f]{16}", path.name):
        path.unlink()
for name in kept:
    (corpus / hashlib.sha1(inputs[name]).hexdigest()[:16]).write_bytes(inputs[name])
size = BYTES - room
print(f"{target}: {len(kept)} files of {len(inputs)}, {size} bytes, reach {len(seen)} of {len(everything)} edges")
