#!/usr/bin/env python3
"""Makes the lists beside this file, and the test data of enrichment, from what others published.

In:      a folder with `ua_uap_core`, `ua_bots`, `ua_browsers_weighted` and `referer`, as README.md names them.
Out:     agents.tsv, crawlers.tsv, referrers.tsv here; enrich_*.tsv in ../tests/data.
Promise: the same bytes for the same input. Needs Python 3 and PyYAML.

    python3 crates/analytics/data/make.py /path/to/lists
"""
import gzip
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import yaml

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests" / "data"

# Hosts that the list of search engines names for their search box, and that people come from for other reasons: here
# a visit is a search only if it brought the words that were searched for.
PORTALS = {
    "cnn.com", "fastweb.it", "optuszoo.com.au", "start.lenovo.com", "wow.com", "{}.wow.com", "cgi2.nintendo.co.jp",
    "it.luna.tv", "kadaza.com", "msnbc.msn.com", "dizionario.it.msn.com", "enciclopedia.it.msn.com",
    "webcache.googleusercontent.com", "maps.google.com", "maps.google.{}",
    "news.google.com", "news.google.{}", "plus.google.com", "url.google.com",
    "news.bbc.co.uk", "news.mail.ru", "freenet.de", "t-online.de", "web.de", "gmx.net", "orange.fr", "free.fr",
}


def line(*cells):
    cells = ["" if cell is None else str(cell) for cell in cells]
    assert not any("\t" in cell or "\n" in cell for cell in cells), cells
    return "\t".join(cells).rstrip("\t") + "\n"


def agents(folder):
    regexes = yaml.load((folder / "ua_uap_core" / "regexes.yaml").read_text(), Loader=yaml.BaseLoader)
    lines = []
    for parser in regexes["user_agent_parsers"]:
        words = ["family_replacement", "v1_replacement", "v2_replacement", "v3_replacement"]
        lines.append(line("browser", parser["regex"], *(parser.get(word) for word in words)))
    for parser in regexes["os_parsers"]:
        words = ["os_replacement", "os_v1_replacement", "os_v2_replacement", "os_v3_replacement"]
        lines.append(line("os", parser["regex"], *(parser.get(word) for word in words)))
    (HERE / "agents.tsv").write_text("".join(lines))


def crawlers(folder):
    listed = json.loads((folder / "ua_bots" / "crawler-user-agents.json").read_text())
    lines, seen, instances = [], set(), set()
    for crawler in listed:
        instances.update(crawler["instances"])
        pattern = crawler["pattern"]
        if pattern in seen:
            continue
        seen.add(pattern)
        tag = (crawler.get("tags") or ["other"])[0]
        literal = re.sub(r"\\([\\/.()+?! -])", r"\1", pattern)
        is_literal = not re.search(r"[][\\^$|*+?(){}]", re.sub(r"\\[\\/.()+?! -]", "", pattern).replace(".", "."))
        # An unescaped point is meant as one in all but a few of them; as a regex it would match more than that.
        is_literal = is_literal and not re.search(r"(?<!\\)\.", pattern)
        lines.append(line("text" if is_literal else "regex", tag, literal if is_literal else pattern))
    (HERE / "crawlers.tsv").write_text("".join(lines))
    kept = sorted(text for text in instances if "\t" not in text and "\n" not in text)
    (TESTS / "enrich_crawlers.txt").write_text("".join(f"{text}\n" for text in kept))


def referrers(folder):
    read = lambda name: yaml.safe_load((folder / "referer" / name).read_text())
    rows = {}

    def put(kind, name, host, params=()):
        host = host.strip().lower()
        if "/" in host:
            return  # only the host of a referrer is known here
        bare = re.sub(r"^www\.", "", host)
        rows.setdefault(bare, (kind, unquote(name), " ".join(params)))

    for name, hosts in read("matomo_AIAssistants.yml").items():
        for host in hosts:
            put("ai_assistant", name, host)
    # Before the engines, among which Facebook stands for its own search box.
    for name, hosts in read("matomo_Socials.yml").items():
        for host in hosts:
            put("social", name, host)
    for name, engines in read("matomo_SearchEngines.yml").items():
        for engine in engines:
            params = [param for param in engine.get("params") or [] if re.fullmatch(r"[\w.]+", param)]
            for host in engine["urls"]:
                bare = re.sub(r"^www\.", "", host.strip().lower())
                put("portal" if bare in PORTALS else "search", name, host, params)
    (HERE / "referrers.tsv").write_text("".join(line(host, *rows[host]) for host in sorted(rows)))


def tests(folder):
    browsers = json.load(gzip.open(folder / "ua_browsers_weighted" / "user-agents.json.gz"))
    weights = {}
    for browser in browsers:
        key = (browser["userAgent"], browser["deviceCategory"])
        weights[key] = weights.get(key, 0) + browser["weight"]
    lines = [line(kind, f"{weight:.9f}", agent) for (agent, kind), weight in sorted(weights.items())]
    (TESTS / "enrich_browsers.tsv").write_text("".join(lines))
    cases = yaml.load((folder / "ua_uap_core" / "test_os.yaml").read_text(), Loader=yaml.BaseLoader)["test_cases"]
    rows = [line(*(case.get(word) or "" for word in ["user_agent_string", "family", "major", "minor", "patch"]))
            for case in cases]
    # Every fourth; the whole file is read where TRIBUTARY_TEST_OS names it, in this form.
    (TESTS / "enrich_os.tsv").write_text("".join(rows[::4]))
    return rows


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    agents(folder)
    crawlers(folder)
    referrers(folder)
    rows = tests(folder)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text("".join(rows))
