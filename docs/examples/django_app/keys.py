"""A key service for trying things out: it knows two keys.  python keys.py"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEYS = {
    "demo-reader": {"id": "1", "username": "reader", "scopes": ["orders:read"]},
    "demo-writer": {"id": "2", "username": "writer", "scopes": ["orders:read", "orders:write"]},
}


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        consumer = KEYS.get(question["key"])
        answer = {"valid": False}
        if consumer is not None:
            named = {"id": consumer["id"], "username": consumer["username"]}
            answer = {"valid": True, "consumer": named, "scopes": consumer["scopes"]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing is logged: requests hold keys."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 8181), Answers).serve_forever()
