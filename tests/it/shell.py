"""Drives a shell in a pseudo-terminal, as a person at a keyboard would, and prints all that was on the screen.

    python shell.py PROGRAM ARGUMENT...

Steps are lines of JSON on standard input: {"wait": TEXT} waits until TEXT stands on the screen behind what was waited
for last; {"type": TEXT} types it; {"type": TEXT, "until": OTHER} types it again and again until OTHER stands there, for
a key that may come too early. \\u0003 is Ctrl-C. The exit code is the program's; 99 says that a wait was in vain.
"""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

WAIT_S_MAX = 120

steps = [json.loads(line) for line in sys.stdin]
child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "xterm"
    # Wide enough that no line is wrapped: its echo is waited for whole.
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 240, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])

screen, seen = "", 0


def read(seconds):
    """Takes in what comes within this time; False once the program has let go of the terminal."""
    global screen
    if not select.select([terminal], [], [], seconds)[0]:
        return True
    try:
        data = os.read(terminal, 65536)
    except OSError:
        data = b""
    screen += data.decode(errors="replace")
    return bool(data)


def fail(why):
    os.kill(child, 9)
    os.waitpid(child, 0)
    print(f"{screen}\n--- {why}")
    sys.exit(99)


def wait(text, again=""):
    global seen
    begun = typed = time.monotonic()
    while (at := screen.find(text, seen)) < 0:
        if time.monotonic() > begun + WAIT_S_MAX or not read(0.1):
            fail(f"waited in vain for {text!r}")
        if again and time.monotonic() > typed + 0.3:
            os.write(terminal, again.encode())
            typed = time.monotonic()
    seen = at + len(text)


for step in steps:
    if "wait" in step:
        wait(step["wait"])
    elif "until" in step:
        wait(step["until"], again=step["type"])
    else:
        os.write(terminal, step["type"].encode())

deadline = time.monotonic() + WAIT_S_MAX
while read(0.1):
    if time.monotonic() > deadline:
        fail("it did not end")
status = os.waitpid(child, 0)[1]
print(screen)
sys.exit(os.waitstatus_to_exitcode(status))
