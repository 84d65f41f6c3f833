"""Usage: retrying.py NAME...

Runs tests as `python3 -m unittest --buffer` does, and those that fail up to two times more, as .config/nextest.toml has
it for the Rust tests: ten commands race here for one engine, on machines with two cores. What passes only then is
named FLAKY at the end, whatever the outcome.
"""

import sys
import unittest

RETRIES = 2


def failed(result):
    """The ids of what failed; a test whose subtests failed is one."""
    return sorted({getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors})


def main(names):
    flaky = []
    for _ in range(1 + RETRIES):
        result = unittest.TextTestRunner(buffer=True).run(unittest.defaultTestLoader.loadTestsFromNames(names))
        names = failed(result)
        flaky += names
        if not names:
            break
        # A module or class that cannot be set up has no test to repeat.
        if any(name.startswith(("setUp", "tearDown", "unittest.loader")) for name in names):
            break
    for name in sorted(set(flaky) - set(names)):
        print(f"FLAKY {name}: passed at attempt {1 + flaky.count(name)}", file=sys.stderr)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
