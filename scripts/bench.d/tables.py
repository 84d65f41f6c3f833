"""Figures from samples, and tables of them."""

import math
import statistics


def over(samples, name, reference):
    """The median of the differences within each round: what disturbed a round disturbed both."""
    return statistics.median(mine - theirs for mine, theirs in zip(samples[name], samples[reference]))


def percentile(values, percent):
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def print_table(title, head, rows):
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print(f"\n{title}\n")
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        print("  " + "   ".join(cells), flush=True)


def print_target(met, name, seen, most):
    print(f"  {'met   ' if met else 'MISSED'}  {name}: {seen} (at most {most})")
