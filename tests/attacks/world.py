"""What lies outside of a box: a network with a listed host, hosts that nobody listed, a resolver and a model.

It lives in the network namespace of this process. Every packet that leaves a box is kept, so "it got out" is a fact of
the wire and no claim of the agent's.
"""

import http.client
import http.server
import socket
import socketserver
import struct
import subprocess
import threading
import time

GATEWAY, BOX = "11.0.0.1", "11.0.0.2"
GATEWAY6, BOX6 = "2a01:1::1", "2a01:1::2"
LISTED, EVIL, PRIVATE, METADATA = "12.0.0.10", "12.0.0.66", "10.66.0.1", "169.254.169.254"
EVIL6 = "2a01:66::66"
# `rebind.example` is listed and leads to a private address.
NAMES = {"api.example": LISTED, "listed.example": LISTED, "evil.example": EVIL, "rebind.example": PRIVATE}
ALLOWED = "api.example:80,listed.example:443,rebind.example:443"
PORTS = (22, 443, 8443, 9418)
MODEL = ("127.0.0.1", 9999)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class World:
    """The network, from `attach` on with one box in it."""

    def __init__(self, claudebox):
        ip("link", "set", "lo", "up")
        for address in (LISTED, EVIL, PRIVATE, METADATA):
            ip("address", "add", f"{address}/32", "dev", "lo")
        ip("-6", "address", "add", f"{EVIL6}/128", "dev", "lo", "nodad")
        self.requests = []
        self._packets = []
        self._model = subprocess.Popen(
            [claudebox, "offline-model", "--listen", "%s:%d" % MODEL], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _serve(socketserver.ThreadingUDPServer, 53, _Resolver)
        for port in PORTS:
            _serve(_Server, port, _Sink)
        _serve(_Server, 80, type("Upstream", (_Upstream,), {"requests": self.requests}))

    def attach(self, pid):
        """Lays a cable to the network of process `pid`."""
        ip("link", "add", "w0", "type", "veth", "peer", "name", "b0", "netns", str(pid))
        ip("address", "add", f"{GATEWAY}/24", "dev", "w0")
        ip("-6", "address", "add", f"{GATEWAY6}/64", "dev", "w0", "nodad")
        ip("link", "set", "w0", "up")
        # Docker turns IPv6 off where its networks have none.
        inside = "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up; ip link set b0 up; ip a add {0}/24 dev b0; ip -6 a add {2}/64 dev b0 nodad; " \
            "ip r add default via {1}; ip -6 r add default via {3}".format(BOX, GATEWAY, BOX6, GATEWAY6)
        subprocess.run(["nsenter", "--target", str(pid), "--net", "sh", "-ec", inside], check=True, capture_output=True)
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sniffer.bind(("w0", 0))
        sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        threading.Thread(target=self._sniff, args=(sniffer,), daemon=True).start()

    def _sniff(self, sniffer):
        while True:
            try:
                packet, (_, _, kind, *_) = sniffer.recvfrom(65536)
            except OSError:
                # The network has ended.
                return
            # What the box answers to our own questions may name anything.
            answer = packet[12:14] == b"\x08\x00" and packet[23] == 6 and packet[34:36] == (8080).to_bytes(2, "big")
            if kind != socket.PACKET_OUTGOING and not answer:
                self._packets.append(packet)

    def seen(self, text):
        """Whether `text` left the box, in whatever packet."""
        return any(text.encode() in packet for packet in list(self._packets))

    def model_has_seen(self, text, path=None, key=None):
        """Whether a request with `text` reached the API: at another path than the API's, or with this credential."""
        for line, headers, body in list(self.requests):
            everything = line + str(headers) + body.decode(errors="replace")
            asked = line.split(" ")[1]
            if text not in everything:
                continue
            if path == "other" and asked.split("?")[0] in ("/v1/messages", "/v1/messages/count_tokens"):
                continue
            if key and key not in (headers.get("x-api-key") or "") + (headers.get("authorization") or ""):
                continue
            return True
        return False

    def close(self):
        self._model.kill()
        self._model.wait()


class _Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


def _serve(kind, port, handler):
    where = ("::", port) if kind is _Server else ("0.0.0.0", port)
    server = kind(where, handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 60}, daemon=True).start()


class _Sink(socketserver.BaseRequestHandler):
    """Takes what comes; the packets are kept by the sniffer."""

    def handle(self):
        self.request.settimeout(3)
        if self.request.recv(65536):
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


class _Resolver(socketserver.BaseRequestHandler):
    """Knows the A records of NAMES, in any spelling, and with whatever stands before them."""

    def handle(self):
        query, reply = self.request
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1").lower())
            at += 1 + query[at]
        (kind,) = struct.unpack_from("!H", query, at + 1)
        address = next((found for name, found in NAMES.items() if ".".join(labels).endswith(name)), None)
        question = query[12 : at + 5]
        if address and kind == 1:
            record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address)
            answer = query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + record
        else:
            answer = query[:2] + (b"\x81\x80" if address else b"\x81\x83") + b"\0\1\0\0\0\0\0\0" + question
        reply.sendto(answer, self.client_address)


class _Upstream(http.server.BaseHTTPRequestHandler):
    """The API: keeps each request, and has the offline model answer it."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    requests = []

    def _any(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.requests.append((self.requestline, self.headers, body))
        if not body or not self.path.startswith("/v1/messages"):
            # And the next request on this connection, which a broker may not have known of.
            self.send_response(404)
            self.send_header("content-length", "0")
            return self.end_headers()
        model = http.client.HTTPConnection(*MODEL, timeout=60)
        model.request(self.command, self.path, body, {name: value for name, value in self.headers.items()
                                                       if name.lower() in ("content-type", "anthropic-version")})
        answer = model.getresponse()
        self.send_response(answer.status)
        self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        while piece := answer.read1(65536):
            self.wfile.write(piece)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any

    def log_message(self, *_):
        pass


def wait_for(what, ask, seconds=30):
    """Asks until there is an answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
