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

try:
    from re import _parser as sre_parser
except ImportError:  # Python before 3.11
    import sre_parse as sre_parser

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


def ascii_classes(regex):
    """The expression with classes as its authors mean them, of ASCII alone, and without bounds of hundreds: both cost a
    regular-expression engine that knows Unicode dearly, and no user agent tells them apart."""
    out, at, in_class = "", 0, False
    plain = {"d": "0-9", "w": "A-Za-z0-9_"}
    while at < len(regex):
        char = regex[at]
        if char == "\\":
            letter = regex[at + 1]
            at += 2
            if letter in plain:
                out += plain[letter] if in_class else f"[{plain[letter]}]"
            elif letter == "b" and not in_class:
                out += "(?-u:\\b)"
            elif letter in "/-" and not in_class:
                out += letter
            else:
                out += "\\" + letter
            continue
        bound = re.match(r"\{([01]),\d{3,}\}", regex[at:]) if not in_class else None
        if bound:
            out += "*" if bound[1] == "0" else "+"
            at += bound.end()
            continue
        if char == "[" and in_class:
            char = "\\["
        elif char == "[":
            in_class = True
            if regex[at + 1 : at + 2] == "]":
                char, at = "[\\]", at + 1
        elif char == "]":
            in_class = False
        out += char
        at += 1
    return out


SETS_MAX = 16


def texts_of(parsed):
    """(all texts a piece can be, if they are few; texts of which one is in whatever it matches)."""
    current, candidates, is_exact = {""}, [], True
    for kind, value in parsed:
        name = str(kind)
        exact, needed = None, None
        if name == "LITERAL":
            exact = {chr(value)}
        elif name == "AT":
            exact = {""}
        elif name == "IN":
            if all(str(item) == "LITERAL" for item, _ in value) and len(value) <= 4:
                exact = {chr(letter) for _, letter in value}
        elif name == "SUBPATTERN":
            exact, needed = texts_of(value[-1])
        elif name == "BRANCH":
            branches = [texts_of(branch) for branch in value[1]]
            if all(branch[0] is not None for branch in branches):
                exact = set().union(*(branch[0] for branch in branches))
                exact = exact if len(exact) <= SETS_MAX else None
            bests = [best([branch[0], branch[1]]) for branch in branches]
            if all(bests):
                needed = set().union(*bests)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = value
            inner_exact, inner_needed = texts_of(inner)
            if (least, most) == (1, 1):
                exact, needed = inner_exact, inner_needed
            elif (least, most) == (0, 1) and inner_exact is not None:
                exact = inner_exact | {""}
            elif least >= 1:
                needed = best([inner_exact, inner_needed])
        if exact is not None and len(exact) * len(current) <= SETS_MAX:
            current = {before + text for before in current for text in exact}
        else:
            candidates.append(current)
            candidates.append(needed)
            current = exact if exact is not None and len(exact) <= SETS_MAX else {""}
            is_exact = False
        if needed is not None and exact is not None:
            candidates.append(needed)
    candidates.append(current)
    return (current if is_exact else None), best(candidates)


def best(sets):
    """The set whose shortest text is longest; `None` if that is shorter than two letters: it would be found everywhere."""
    sets = [texts for texts in sets if texts and min(map(len, texts)) >= 2 and len(texts) <= 300]
    return max(sets, key=lambda texts: (min(min(map(len, texts)), 6), -len(texts)), default=None)


def needed_texts(regex):
    _, needed = texts_of(sre_parser.parse(regex))
    return sorted(needed or [])


def agents(folder):
    regexes = yaml.load((folder / "ua_uap_core" / "regexes.yaml").read_text(), Loader=yaml.BaseLoader)
    lines = []
    for parser in regexes["user_agent_parsers"]:
        words = ["family_replacement", "v1_replacement", "v2_replacement", "v3_replacement"]
        lines.append(expression("browser", parser, words))
    for parser in regexes["os_parsers"]:
        words = ["os_replacement", "os_v1_replacement", "os_v2_replacement", "os_v3_replacement"]
        lines.append(expression("os", parser, words))
    (HERE / "agents.tsv").write_text("".join(lines))


def expression(kind, parser, words):
    words = [parser.get(word) for word in words]
    return line(kind, ascii_classes(parser["regex"]), *words, *needed_texts(parser["regex"]))


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
