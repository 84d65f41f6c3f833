"""What an attack is. Read in a box, where its body runs, and outside, where it is judged."""

ATTACKS = {}


class Judge:
    """Whether an attack has succeeded, asked outside of the box. `held`: while its process waits for that."""

    def __init__(self, ask, held=False):
        self.ask, self.held = ask, held


def loot(secret):
    """The agent has what it was never told: a secret made up for this box is in what the attack printed."""
    return Judge(lambda case: case.secrets[secret] in case.output)


def arrives():
    """A packet with the attack's nonce left the box."""
    return Judge(lambda case: case.world.seen(case.nonce))


def after(ask):
    """The state of the box once the attack has ended."""
    return Judge(ask)


def meanwhile(ask):
    """The state of the attack's process, `case.pid`, which waits in `hold()`."""
    return Judge(ask, held=True)


def word(text):
    """The attack's own word, where nothing outside changes: a system call that was let through."""
    return Judge(lambda case: f"won {text} {case.nonce}" in case.output)


class Attack:
    def __init__(self, name, row, judge, body, phase, options):
        self.name, self.row, self.judge, self.body, self.phase, self.options = name, row, judge, body, phase, options
        self.title = " ".join((body.__doc__ or "").split())
        self.kind = body.__module__.split(".")[-1]


def attack(name, row, judge, phase="together", **options):
    """Its body is what the hijacked agent does.

    phase   together   among others of its file, in one run
            alone      in a run of its own: it harms the box
            cli        it plants something; then a run of the true CLI works in another workspace
            restart    it plants something; then the box is started anew
            operator   its body runs outside, with a token that may do little or with none
            sockets    as together, in a box that has engines' sockets
    """
    assert phase in ("together", "alone", "cli", "restart", "operator", "sockets"), phase

    def add(body):
        assert name not in ATTACKS, name
        ATTACKS[name] = Attack(name, row, judge, body, phase, options)
        return body

    return add


def load():
    """All attacks, in the order of their files."""
    import importlib
    import pathlib

    for path in sorted((pathlib.Path(__file__).parent / "attacks").glob("*.py")):
        importlib.import_module(f"attacks.{path.stem}")
    return ATTACKS
