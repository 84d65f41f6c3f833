#!/usr/bin/env python3
"""A recording of the host command as an animated SVG: terminal.py FOLDER, within scripts/sealed.

tmux is the terminal. A picture of it is taken when it shows what is waited for, not by the clock, and what chance or the
clock decides is replaced (MASKS); so the same code gives the same file.
"""

import html
import pathlib
import re
import subprocess
import sys

import surroundings

COLUMNS, ROWS = 92, 22
CELL, LINE, FONT = 8.4, 18, 14
MARGIN, BAR = 16, 30
# So many looks in a row that see the same.
CALM = 5
# How long a picture stays, milliseconds.
KEY, ENTER, READ, LONG = 90, 500, 1800, 3200
MASKS = [
    # A word by chance, and the time.
    (r"\w+ for \d+s · done \d+:\d+ [AP]M", "Worked for 0s"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "01234567-89ab-4cde-8f01-23456789abcd"),
    # Hints that come and go.
    (r"◐ \w+ · /effort", ""),
    (r" · ← for agents", ""),
    # Few fonts have it.
    ("⏵", "▸"),
]
# The columns of the CLI's drawing, and the lines that have it: what stands beside it, or nothing.
DRAWING = 11
MOVING = rf"(?=.{{{DRAWING}}}(?:Claude Code v|\w+ [\d.]+ · |/home/ada/))|[ ~·*▐▛█▜▌▝▘▀▄▖▗▙▟]+$"
BASE = ["#1d1f21", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#c8ccd4",
        "#7f848e", "#ef8f98", "#b5d99c", "#f0d399", "#8cc6f5", "#d9a0e8", "#83cdd6", "#ffffff"]
BACK, INK = "#16181d", "#d7dae0"
STEPS = [
    # (what is typed, what is shown then, how long it stays)
    ('claudebox "explain this codebase"', r"You said: explain this codebase\n.*site \$ $", LONG),
    ('git diff | claudebox "review this" --output-format json | jq -r .outcome', r"\nok\n.*site \$ $", READ),
    ("claudebox", r"bypass permissions on", READ),
    ("hello", r"You said: hello[\s\S]*done \d", READ),
    ("offline:tool whoami; cat /proc/1/comm", r"The Bash tool answered:[\s\S]*done \d", LONG),
    ("/exit", r"to go on with this session[^\n]*\n.*site \$ $", LONG),
]


def tmux(*words):
    return subprocess.run(["tmux", "-L", "pictures", "-f", "/dev/null", *words], check=True, capture_output=True, text=True).stdout


def plain():
    return tmux("capture-pane", "-p", "-J", "-t", "0").rstrip("\n")


def screen():
    """The screen's lines with their colours, once it has stopped changing."""
    last = [None] * CALM

    def calm():
        last.append(tmux("capture-pane", "-p", "-e", "-N", "-t", "0"))
        return len(set(last[-CALM:])) == 1

    surroundings.until("a screen that stands still", calm)
    return [spans(line) for line in last[-1].split("\n")[:ROWS]]


def spans(line):
    """(text, colour, background, bold) of each part of a line."""
    found, style = [], {}
    for text, codes in re.findall(r"([^\x1b]*)(?:\x1b\[([\d;]*)m)?", line):
        if text:
            ink, back = style.get("ink", INK), style.get("back")
            if style.get("reverse"):
                ink, back = back or BACK, ink
            found.append((text, "#8a8f98" if style.get("dim") and ink == INK else ink, back, style.get("bold", False)))
        apply(style, [int(code or 0) for code in codes.split(";")] if codes is not None else [])
    return masked(found)


def apply(style, codes):
    codes = list(codes)
    while codes:
        code = codes.pop(0)
        if code == 0:
            style.clear()
        elif code in (1, 2, 7):
            style[{1: "bold", 2: "dim", 7: "reverse"}[code]] = True
        elif code == 22:
            style.pop("bold", None), style.pop("dim", None)
        elif code == 27:
            style.pop("reverse", None)
        elif code in (38, 48):
            kind = codes.pop(0)
            colour = palette(codes.pop(0)) if kind == 5 else "#%02x%02x%02x" % tuple(codes.pop(0) for _ in range(3))
            style["ink" if code == 38 else "back"] = colour
        elif code in (39, 49):
            style.pop("ink" if code == 39 else "back", None)
        elif 30 <= code % 60 <= 37 or 40 <= code % 60 <= 47:
            bright = 8 if code >= 90 else 0
            style["ink" if code % 60 < 40 else "back"] = BASE[code % 10 + bright]


def palette(number):
    if number < 16:
        return BASE[number]
    if number >= 232:
        return "#" + "%02x" % (8 + 10 * (number - 232)) * 3
    number -= 16
    return "#%02x%02x%02x" % tuple(55 + 40 * part if part else 0 for part in (number // 36, number // 6 % 6, number % 6))


def cut(found, columns):
    """The same line with spaces in its first columns."""
    kept, at = [(" " * columns, INK, None, False)], 0
    for text, *style in found:
        if len(rest := text[max(0, columns - at) :]):
            kept.append((rest, *style))
        at += len(text)
    return kept


def masked(found):
    kept = []
    # The drawing beside the CLI's name moves.
    if re.match(MOVING, "".join(text for text, *_ in found)):
        found = cut(found, DRAWING)
    for text, *style in found:
        for pattern, instead in MASKS:
            text = re.sub(pattern, instead, text)
        kept.append((text, *style))
    # What is empty to the right is no part of the picture.
    while kept and not kept[-1][0].strip() and not kept[-1][2]:
        kept.pop()
    return tuple(kept)


def record():
    frames = []
    env = {**surroundings.SETTINGS, "HOME": str(surroundings.HOME), "PS1": r"\w $ ", "TERM": "tmux-256color", "CLAUDEBOX_NETWORK": "none",
           "PATH": f"{surroundings.HOME}/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", str(surroundings.HOME / "projects/site"),
         "env", "-i", *[f"{name}={value}" for name, value in env.items()], "bash", "--norc", "--noprofile")
    tmux("set", "-g", "status", "off")
    tmux("resize-window", "-x", str(COLUMNS), "-y", str(ROWS))
    surroundings.until("a prompt", lambda: "$" in plain())
    frames.append((screen(), ENTER))
    for typed, shown, stays in STEPS:
        for end in [*range(4, len(typed), 4), len(typed)]:
            before = plain()
            # At the end of a word tmux takes a semicolon for its own.
            tmux("send-keys", "-t", "0", "-l", "--", re.sub(";$", r"\;", typed[(end - 1) // 4 * 4 : end]))
            surroundings.until(typed, lambda: plain() != before and typed[:end].replace(" ", "") in re.sub(r"\s", "", plain()), plain)
            frames.append((screen(), KEY if end < len(typed) else ENTER))
        tmux("send-keys", "-t", "0", "Enter")
        surroundings.until(shown, lambda: re.search(shown, plain()), plain)
        frames.append((screen(), stays))
    tmux("kill-server")
    return frames


def svg(frames):
    width, height = MARGIN * 2 + COLUMNS * CELL, BAR + MARGIN * 2 + ROWS * LINE
    total = sum(stays for _, stays in frames)
    lines, groups, rules, begins = {}, [], [], 0
    for number, (rows, stays) in enumerate(frames):
        uses = []
        for row, line in enumerate(rows):
            if line:
                name = lines.setdefault(line, f"l{len(lines)}")
                uses.append(f'<use href="#{name}" y="{row * LINE}"/>')
        groups.append(f'<g class="f" id="f{number}">{"".join(uses)}</g>')
        start, end = 100 * begins / total, 100 * (begins + stays) / total
        rules.append(f"@keyframes k{number}{{{f'0%{{opacity:0}}' if start else ''}{start:.3f}%{{opacity:1}}{end:.3f}%{{opacity:0}}}}"
                     f"#f{number}{{animation:k{number} {total}ms step-end infinite}}")
        begins += stays
    last = len(frames) - 1
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" aria-labelledby="t">',
        "<title id=\"t\">claudebox on a terminal: two prompts from the shell, then a session of the interactive CLI, all answered by the offline model</title>",
        f"<style>.f{{opacity:0}}text{{font:{FONT}px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}}",
        "".join(rules),
        # Whoever wants no motion sees how it ends.
        f"@media (prefers-reduced-motion:reduce){{.f{{animation:none!important}}#f{last}{{opacity:1}}}}</style><defs>",
    ]
    out += [f'<g id="{name}">{drawn(line)}</g>' for line, name in lines.items()]
    out += [
        f'</defs><rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="{BACK}"/>',
        "".join(f'<circle cx="{20 + 18 * at}" cy="18" r="5.5" fill="{colour}"/>' for at, colour in enumerate(["#e06c75", "#e5c07b", "#98c379"])),
        f'<text x="{width / 2:.0f}" y="23" fill="#8a8f98" text-anchor="middle">the offline model answers: no account, no network</text>',
        f'<g transform="translate({MARGIN} {BAR + MARGIN})">', *groups, "</g></svg>",
    ]
    return "\n".join(out) + "\n"


def drawn(line):
    out, column = [], 0
    for text, ink, back, bold in line:
        x, wide = column * CELL, len(text) * CELL
        if back:
            out.append(f'<rect x="{x:.1f}" width="{wide:.1f}" height="{LINE}" fill="{back}"/>')
        if text.strip():
            weight = ' font-weight="700"' if bold else ""
            stripped = text.rstrip()
            lead = len(stripped) - len(stripped.lstrip())
            out.append(f'<text x="{x + lead * CELL:.1f}" y="13.5" fill="{ink}"{weight} textLength="{(len(stripped) - lead) * CELL:.1f}" '
                       f'lengthAdjust="spacingAndGlyphs">{html.escape(stripped.lstrip(), quote=False)}</text>')
        column += len(text)
    return "".join(out)


def main():
    surroundings.make()
    path = pathlib.Path(sys.argv[1]) / "terminal.svg"
    path.write_text(svg(record()), encoding="utf-8")


main()
