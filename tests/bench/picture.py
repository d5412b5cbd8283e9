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
BAR = 46                    # at most
BETWEEN = 6                 # bars of a group
GROUP_GAP = 12              # at least, between groups
NARROW = 30                 # a bar that needs smaller letters

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


class Bar:
    """A figure with its spread.  Texts are in the bar and below it."""

    def __init__(self, figure, colour, ink, inside, below=''):
        self.figure = figure
        self.colour = colour
        self.ink = ink
        self.inside = inside
        self.below = below


def draw_panel(canvas, x, y, width, title, groups):
    """A diagram: [(name of the group, [Bar or None for a gap])]."""
    bottom = y + PANEL - PLOT_BOTTOM
    height = bottom - y - PLOT_TOP
    figures = [b.figure for _, bars in groups for b in bars if b]
    top = max(f['max'] for f in figures) * 1.05
    # One measurement that was disturbed must not make all others small.
    top = min(top, 2.2 * max(f['median'] for f in figures))
    top = top or 1
    scale = height / top
    step = tick_step(top)

    canvas.text(x, y + 14, title, 13, weight='bold')
    tick = 0
    while tick <= top:
        level = bottom - tick * scale
        canvas.line(x + AXIS, level, x + width, level, FAINT)
        canvas.text(x + AXIS - 6, level + 4, f'{tick:g}', 11, 'end')
        tick += step
    # As wide as they may be, and what is left over goes between the groups.
    count = sum(len(bars) for _, bars in groups)
    room = width - AXIS - len(groups) * GROUP_GAP
    bar_width = min(BAR, room / count - BETWEEN)
    between = (width - AXIS - count * (bar_width + BETWEEN)) / len(groups)
    left = x + AXIS + (between + BETWEEN) / 2
    for name, bars in groups:
        wide = len(bars) * (bar_width + BETWEEN) - BETWEEN
        for k, bar in enumerate(bars):
            if bar:
                draw_bar(canvas, left + k * (bar_width + BETWEEN), bottom,
                         scale, top, bar, bar_width)
        canvas.text(left + wide / 2, bottom + 32, name,
                    11 if bar_width < NARROW else 12, 'middle')
        left += wide + BETWEEN + between
    canvas.line(x + AXIS, bottom, x + width, bottom)


def draw_bar(canvas, x, bottom, scale, top, bar, width):
    """The median as a bar, minimum and maximum as a whisker."""
    figure = bar.figure
    high = min(figure['max'], top)
    canvas.rect(x, bottom - figure['median'] * scale, width,
                figure['median'] * scale, bar.colour)
    middle = x + width / 2
    ends = [figure['min']] + ([figure['max']] if figure['max'] <= top else [])
    # White below, so that it is seen on a dark bar.
    for colour, pen in (('#ffffff', 3.5), (INK, 1.5)):
        canvas.line(middle, bottom - figure['min'] * scale, middle,
                    bottom - high * scale, colour, pen)
        for end in ends:
            canvas.line(middle - 6, bottom - end * scale, middle + 6,
                        bottom - end * scale, colour, pen)
    # In the bar, or above the whisker of one that is too low for it.
    low = figure['median'] * scale < 16
    small = 2 if width < NARROW else 0
    canvas.text(middle, bottom - (6 if not low else 6 + high * scale),
                bar.inside, 12 - small, 'middle', 'bold',
                INK if low else bar.ink)
    canvas.text(middle, bottom + 15, bar.below, 11 - small, 'middle')


def draw_foot(canvas, data, height):
    m, p = data['machine'], data['programs']
    canvas.text(MARGIN, height - 30, f'{p["ours"]["version"]}, commit '
                f'{p["ours"]["commit"] or "unknown"}, against '
                f'{p["base"]["version"]}', 11, colour='#555555')
    canvas.text(MARGIN, height - 14, f'{m["cpu"]}, {m["cpus"]} CPUs, Linux '
                f'{m["kernel"]}, {data["date"]}', 11, colour='#555555')


def bar_of(row):
    variant, cpu = row['variant'], row['cpu']
    return Bar(cpu, COLOURS[variant], ON_BAR[variant], f'{cpu["median"]:.0f}',
               '' if variant == 'base' else f'{row["ratio"]["median"]:.2f}×')


def panel_of(rows):
    """One case in one mode: its title, a group of bars for each layout."""
    groups = []
    for layout in LAYOUTS:
        here = {r['variant']: r for r in rows if r['layout'] == layout}
        groups.append((f'{layout} ring', [bar_of(here[v]) if v in here
                                          else None for v in VARIANTS]))
    return (f'{CASES[rows[0]["name"]]["title"]}: {MODES[rows[0]["mode"]]}',
            groups)


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
                panels.append(panel_of([r for r in rows
                                        if r['regime'] == most]))
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
    for i, (title, groups) in enumerate(panels):
        draw_panel(canvas, MARGIN + (i % columns) * (width + GAP),
                   HEAD + (i // columns) * PANEL, width, title, groups)
    draw_foot(canvas, data, height)
    return canvas.svg(WIDTH, height)
