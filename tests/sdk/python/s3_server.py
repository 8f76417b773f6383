"""An S3 that honours conditional puts, on a free port of loopback, until it is ended.

    python s3_server.py

Prints its port. It is moto, asked one request at a time: moto looks whether a key is there and then writes it, and two
threads between these steps would both be told that they made it. Everything is in memory and gone with the process.
"""

import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

moto = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()


def one_at_a_time(environ, start_response):
    with turn:
        return list(moto(environ, start_response))


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *args):
        pass


server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
