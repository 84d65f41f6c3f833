#!/usr/bin/env python3
"""A receiver of webhooks that trusts nobody: it verifies each delivery with the specification's own library.

    webhook.py SECRET [--port 9000] [--count 1] [--answers 503,200]

Prints a line of JSON for each delivery: the body, its id, and whether the signature is right. Ends after COUNT of them,
with status 1 if a signature was wrong. Needs standardwebhooks from PyPI.
"""

import argparse
import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("secret")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--answers", default="204", help="statuses, in turn; the last one stays")
    given = parser.parse_args()
    # The library takes base64; a plain secret stands for its own bytes.
    plain = not given.secret.startswith("whsec_")
    webhook = Webhook(base64.b64encode(given.secret.encode()).decode() if plain else given.secret)
    answers = [int(status) for status in given.answers.split(",")]
    wrong = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            line = {"id": self.headers.get("Webhook-Id"), "body": json.loads(body), "verified": True}
            try:
                webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
            except WebhookVerificationError as error:
                line.update(verified=False, error=str(error))
                wrong.append(line)
            print(json.dumps(line), flush=True)
            self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", given.port), Receiver) as server:
        print(json.dumps({"listening": server.server_port}), flush=True)
        for _ in range(given.count):
            server.handle_request()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
