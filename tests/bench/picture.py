# SPDX-License-Identifier: GPL-2.0-or-later
"""The results as a picture: an SVG of bars with whiskers."""

from xml.sax.saxutils import escape

from results import CASES, COMPARED, LAYOUTS, MODES, VARIANTS

# Sizes are in pixels of the picture as it is drawn.
WIDTH = 980
MARGIN = 24
HEAD = 96                   # title and legend
PANEL = 216                 # height of a panel with its title
GAP = 28                    # between the two columns
PLOT_TOP = 34               # below the panel's top: its title
PLOT_BOTTOM = 40            # above its bottom: names of the layouts
AXIS = 44                   # left of the bars
BAR = 46
BETWEEN = 6                 # bars of a group

# Told apart by brightness, too, for those who do not see the colours.
ON_BAR = {'base': '#222222', 'off': '#222222', 'on': '#ffffff'}
COLOURS = {'base': '#9aa3ad', 'off': '#6fa8dc', 'on': '#0b5394'}
LEGEND = {'base': 'unmodified base', 'off': 'in_order=off',
          'on': 'in_order=on'}
INK = '#222222'
FAINT = '#dddddd'


class Canvas:
    """Collects the elements of an SVG."""

    def __init__(self):
        self.parts = []

    def text(self, x, y, text, size=12, anchor='start', weight='normal',
             colour=INK):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
            f'text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{colour}">{escape(text)}</text>')

    def rect(self, x, y, width, height, colour):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{max(height, 0):.1f}" fill="{colour}"/>')

    def line(self, x1, y1, x2, y2, colour=INK, width=1.0):
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}" stroke-width="{width}"/>')

    def svg(self, width, height):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
                f'height="{height}" viewBox="0 0 {width} {height}" '
                f'font-family="DejaVu Sans, Verdana, sans-serif">\n'
                f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
                + '\n'.join(self.parts) + '\n</svg>\n')


def tick_step(top):
    """A round number of nanoseconds, for four to eight lines."""
    step = 1
    while top / step > 8:
        for factor in (2, 2.5, 2):
            step *= factor
            if top / step <= 8:
                break
    return step


def draw_panel(canvas, x, y, width, rows):
    """One case in one mode: a group of bars for each layout."""
    what = CASES[rows[0]['name']]
    bottom = y + PANEL - PLOT_BOTTOM
    height = bottom - y - PLOT_TOP
    top = max(r['cpu']['max'] for r in rows) * 1.05
    # One measurement that was disturbed must not make all others small.
    top = min(top, 2.2 * max(r['cpu']['median'] for r in rows))
    scale = height / top
    step = tick_step(top)

    canvas.text(x, y + 14, f'{what["title"]}: {MODES[rows[0]["mode"]]}', 13,
                weight='bold')
    tick = 0
    while tick <= top:
        level = bottom - tick * scale
        canvas.line(x + AXIS, level, x + width, level, FAINT)
        canvas.text(x + AXIS - 6, level + 4, f'{tick:g}', 11, 'end')
        tick += step
    group = (width - AXIS) / len(LAYOUTS)
    wide = len(VARIANTS) * BAR + (len(VARIANTS) - 1) * BETWEEN
    for i, layout in enumerate(LAYOUTS):
        left = x + AXIS + group * i + (group - wide) / 2
        here = {r['variant']: r for r in rows if r['layout'] == layout}
        for k, variant in enumerate(VARIANTS):
            if variant in here:
                draw_bar(canvas, left + k * (BAR + BETWEEN), bottom, scale,
                         top, here[variant])
        canvas.text(left + wide / 2, bottom + 32, f'{layout} ring', 12,
                    'middle')
    canvas.line(x + AXIS, bottom, x + width, bottom)


def draw_bar(canvas, x, bottom, scale, top, row):
    """The median as a bar, minimum and maximum as a whisker."""
    cpu = row['cpu']
    high = min(cpu['max'], top)
    canvas.rect(x, bottom - cpu['median'] * scale, BAR,
                cpu['median'] * scale, COLOURS[row['variant']])
    middle = x + BAR / 2
    ends = [cpu['min']] + ([cpu['max']] if cpu['max'] <= top else [])
    # White below, so that it is seen on a dark bar.
    for colour, width in (('#ffffff', 3.5), (INK, 1.5)):
        canvas.line(middle, bottom - cpu['min'] * scale, middle,
                    bottom - high * scale, colour, width)
        for end in ends:
            canvas.line(middle - 6, bottom - end * scale, middle + 6,
                        bottom - end * scale, colour, width)
    canvas.text(middle, bottom - 6, f'{cpu["median"]:.0f}', 12, 'middle',
                'bold', ON_BAR[row['variant']])
    if row['variant'] != 'base':
        canvas.text(middle, bottom + 15, f'{row["ratio"]["median"]:.2f}×', 11,
                    'middle')


def draw(data):
    """The picture of a summary, as text."""
    panels = []
    for name in COMPARED:
        for mode in MODES:
            rows = [r for r in data['summary']
                    if (r['name'], r['mode']) == (name, mode)]
            # Of several regimes, the one that most was measured in.
            if rows:
                most = max(rows, key=lambda r: r['rounds'])['regime']
                panels.append([r for r in rows if r['regime'] == most])
    columns = 2 if len(panels) > 1 else 1
    width = (WIDTH - 2 * MARGIN - GAP) / 2
    height = HEAD + PANEL * ((len(panels) + columns - 1) // columns) + 62
    canvas = Canvas()

    canvas.text(MARGIN, 32, 'CPU time of QEMU for each packet or request, '
                'nanoseconds', 18, weight='bold')
    canvas.text(MARGIN, 52, 'Less is better. Bars are medians, whiskers the '
                'smallest and the largest of the rounds; below stands the '
                'ratio to the base.', 12)
    x = MARGIN
    for variant in VARIANTS:
        canvas.rect(x, 64, 14, 14, COLOURS[variant])
        canvas.text(x + 20, 76, LEGEND[variant], 12)
        x += 150
    for i, rows in enumerate(panels):
        draw_panel(canvas, MARGIN + (i % columns) * (width + GAP),
                   HEAD + (i // columns) * PANEL, width, rows)
    m, p = data['machine'], data['programs']
    canvas.text(MARGIN, height - 30, f'{p["ours"]["version"]}, commit '
                f'{p["ours"]["commit"] or "unknown"}, against '
                f'{p["base"]["version"]}', 11, colour='#555555')
    canvas.text(MARGIN, height - 14, f'{m["cpu"]}, {m["cpus"]} CPUs, Linux '
                f'{m["kernel"]}, {data["date"]}', 11, colour='#555555')
    return canvas.svg(WIDTH, height)
