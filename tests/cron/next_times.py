"""Makes up cron expressions, always the same ones, and asks croniter for their next times.

Prints one JSON object per line: expression, zone, start and times (seconds since 1970).

Usage: next_times.py COUNT
"""

import datetime
import json
import random
import sys
import zoneinfo

from croniter import croniter

SEED = 20260329
NEXT = 5
# Hours around these are tried more often than others: clocks go forward or back (UTC).
CHANGES = {
    "UTC": [],
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00", "2027-03-28T01:00", "2027-10-31T01:00"],
    "Australia/Lord_Howe": ["2026-04-04T15:00", "2026-10-03T15:30", "2027-04-03T15:00", "2027-10-02T15:30"],
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00"],
}
# name, least, most, names of values
FIELDS = [
    ("second", 0, 59, []),
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day", 1, 31, []),
    ("month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec".split()),
    ("weekday", 0, 6, "sun mon tue wed thu fri sat".split()),
]


def part(chance, least, most, names):
    """One part of a field: a value, a range, or steps."""
    low = chance.randint(least, most)
    high = chance.randint(low, most)
    step = chance.randint(1, max(1, (most - least) // 2))
    kind = chance.random()
    if kind < 0.4:
        return names[low - least] if names and chance.random() < 0.5 else str(low)
    if kind < 0.6 and high > low:
        return f"{low}-{high}"
    if kind < 0.75 and high > low:
        return f"{low}-{high}/{step}"
    return f"*/{step}"


def field(chance, name, least, most, names):
    if chance.random() < (0.35 if name in ("second", "minute", "hour") else 0.6):
        return "*"
    count = 1 if chance.random() < 0.75 else chance.randint(2, 4)
    return ",".join(part(chance, least, most, names) for _ in range(count))


def expression(chance):
    fields = [field(chance, *about) for about in FIELDS]
    return " ".join(fields if chance.random() < 0.4 else fields[1:])


def start(chance, zone):
    if CHANGES[zone] and chance.random() < 0.5:
        change = datetime.datetime.fromisoformat(chance.choice(CHANGES[zone])).replace(tzinfo=datetime.timezone.utc)
        return int(change.timestamp()) + chance.randint(-30 * 3600, 6 * 3600)
    return chance.randint(1577836800, 1893456000)


def main():
    chance = random.Random(SEED)
    made = 0
    while made < int(sys.argv[1]):
        text = expression(chance)
        zone = chance.choice(["UTC", *CHANGES])
        begin = start(chance, zone)
        at = datetime.datetime.fromtimestamp(begin, zoneinfo.ZoneInfo(zone))
        try:
            times = croniter(text, at, second_at_beginning=True)
            found = [int(times.get_next(datetime.datetime).timestamp()) for _ in range(NEXT)]
        except ValueError:
            # It never comes, such as on the 31st of June.
            continue
        print(json.dumps({"expression": text, "zone": zone, "start": begin, "times": found}))
        made += 1


if __name__ == "__main__":
    main()
