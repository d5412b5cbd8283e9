# SPDX-License-Identifier: GPL-2.0-or-later
"""What shadow virtqueues cost, as a picture: an SVG of bars with whiskers."""

from picture import (GAP, HEAD, MARGIN, PANEL, WIDTH, Bar, Canvas, draw_foot,
                     draw_panel)
from svq_results import CASES, RINGS, VARIANTS

# Told apart by brightness, too, for those who do not see the colours.
COLOURS = {'pass': '#d9d9d9', 'base': '#9aa3ad', 'main': '#6fa8dc',
           'main-bell': '#3d85c6', 'one': '#45818e', 'io': '#0b5394',
           'io-bell': '#073763'}
DARK = ('main-bell', 'one', 'io', 'io-bell')


def rows_of(data, name):
    """The rows of a case in the regime that most was measured in."""
    rows = [r for r in data['summary'] if r['name'] == name]
    counts = {}
    for r in rows:
        counts[r['regime']] = counts.get(r['regime'], 0) + r['rounds']
    return [r for r in rows if r['regime'] == max(counts, key=counts.get)]


def bar(row, figure, digits=0, below=''):
    variant = row['variant']
    return Bar(figure, COLOURS[variant],
               '#ffffff' if variant in DARK else '#222222',
               f'{figure["median"]:.{digits}f}', below)


def by_rings(rows, make):
    """A group of bars for each kind of ring."""
    groups = []
    for rings in RINGS:
        bars = [make(r) for r in rows if r['rings'] == rings]
        if bars:
            groups.append((RINGS[rings], bars))
    return groups


def ratio(row, key):
    return '' if row['variant'] in ('base', 'pass') else \
        f'{row[key]["median"]:.2f}'


def cpu(row):
    return bar(row, row['cpu'], below=ratio(row, 'cpu_ratio'))


def rate(row):
    return bar(row, row['rate'], 0 if row['rate']['median'] >= 10 else 1,
               ratio(row, 'rate_ratio'))


def delay(key):
    def make(row):
        return bar(row, row[key], 0 if row[key]['median'] >= 100 else 1)
    return make


def panels(data):
    """[(title, groups)]"""
    found = []
    first = rows_of(data, 'tx-64-1')
    if first:
        found.append(('transmit, 64 B: million packets per second',
                      by_rings(first, rate)))
    for case in CASES.values():
        rows = rows_of(data, case.name)
        if not rows:
            continue
        if case.direction == 'loop':
            for key in ('p50', 'p99'):
                found.append((f'{case.title}: {key}, µs',
                              by_rings(rows, delay(key))))
        elif case.probe:
            found.append((f'{case.title}: delay of a QMP command, µs',
                          [(key, [delay(key)(r) for r in rows])
                           for key in ('p50', 'p99')]))
        else:
            found.append((f'{case.title}: CPU, ns', by_rings(rows, cpu)))
    return found


def draw(data):
    """The picture of a summary, as text."""
    all_panels = panels(data)
    columns = 2 if len(all_panels) > 1 else 1
    width = (WIDTH - 2 * MARGIN - GAP) / 2
    height = HEAD + 20 + PANEL * ((len(all_panels) + columns - 1) // columns) \
        + 42
    canvas = Canvas()
    used = {r['variant'] for r in data['summary']}

    canvas.text(MARGIN, 32, 'What a shadow virtqueue costs QEMU', 18,
                weight='bold')
    canvas.text(MARGIN, 52, 'Bars are medians, whiskers the smallest and the '
                'largest of the rounds; below stands the ratio to the base.',
                12)
    x, y = MARGIN, 64
    for variant, what in VARIANTS.items():
        if variant in used:
            canvas.rect(x, y, 14, 14, COLOURS[variant])
            canvas.text(x + 20, y + 12, what['title'], 12)
            x += 40 + 7 * len(what['title'])
    for i, (title, groups) in enumerate(all_panels):
        draw_panel(canvas, MARGIN + (i % columns) * (width + GAP),
                   HEAD + (i // columns) * PANEL, width, title, groups)
    draw_foot(canvas, data, height)
    return canvas.svg(WIDTH, height)
