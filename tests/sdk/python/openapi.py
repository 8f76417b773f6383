"""schemathesis on a running server: openapi.py ADDRESS KEY SQL_TOKEN REPLAY_TOKEN EXAMPLES.

Left out, and why: negative_data_rejection but for the replay (a bad event is a dead letter behind a 200, by design);
positive_data_acceptance but for JSON of /v1/events (foreign bodies are told loosely); missing_required_header (none is); the stateful
phase (nothing is made and got again); /v1/tail (it never ends); /v1/sql (its text is a language of its own).
"""
import base64
import os
import subprocess
import sys
import tempfile

HOOKS = '''
import os
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")

@schemathesis.hook
def filter_case(ctx, case):
    # Plain text may be any: no schema says that there is JSON in it.
    return os.environ.get("JSON_ONLY") != "1" or case.media_type == "application/json"
'''
CHECKS = ",".join([
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "allow_header_conformance",
])

address, key, sql_token, replay_token, examples = sys.argv[1:]
basic = "Authorization: Basic " + base64.b64encode(f"{key}:".encode()).decode()
bearer = "Authorization: Bearer {}".format
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "hooks.py"), "w") as file:
        file.write(HOOKS)

    def run(name, *arguments, **environment):
        command = [
            sys.executable, "-m", "schemathesis.cli", "run", f"http://{address}/openapi.json", "--url", f"http://{address}",
            "--phases", "examples,coverage,fuzzing", "--seed", "1", "--request-timeout", "30", "--continue-on-failure",
            "--generation-database", "none", "--suppress-health-check", "all", "--no-color", "--warnings", "off", *arguments,
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": folder, "NO_PROXY": "127.0.0.1", **environment}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=900)
        print(f"== {name}: {done.returncode}\n{done.stdout[-20000:]}\n{done.stderr[-2000:]}")
        return done.returncode

    faults = [
        run("key", "--max-examples", examples, "--checks", CHECKS, "--exclude-tag", "questions", "--exclude-path", "/v1/tail",
            "--exclude-path", "/v1/dead-letters/replay", "--header", basic),
        run("accepted", "--max-examples", examples, "--mode", "positive", "--checks", CHECKS + ",positive_data_acceptance",
            "--include-tag", "events", "--header", basic, JSON_ONLY="1"),
        run("replay", "--max-examples", examples, "--checks", CHECKS + ",negative_data_rejection,ignored_auth",
            "--include-path", "/v1/dead-letters/replay", "--header", bearer(replay_token)),
        run("receipts", "--max-examples", examples, "--checks", CHECKS + ",ignored_auth",
            "--include-path", "/v1/receipts/{event_id}", "--header", bearer(sql_token)),
    ]
sys.exit(1 if any(faults) else 0)
