# SPDX-License-Identifier: GPL-2.0-or-later
"""From measurements to medians and ratios, and the table of them."""

from statistics import median

from common import FEW, heading, number, regimes, spread

# name: what virtio-bench is asked for, and how it is called in words
CASES = {
    'net-tx': {'case': 'net-tx', 'size': 60, 'title': 'net transmit, 60 B',
               'unit': 'packet'},
    'net-rx': {'case': 'net-rx', 'size': 60, 'title': 'net receive, 60 B',
               'unit': 'packet'},
    'blk-read-512': {'case': 'blk-read', 'size': 512,
                     'title': 'blk read, 512 B', 'unit': 'request'},
    'blk-read-4k': {'case': 'blk-read', 'size': 4096,
                    'title': 'blk read, 4 KiB', 'unit': 'request'},
    'blk-write-512': {'case': 'blk-write', 'size': 512,
                      'title': 'blk write, 512 B', 'unit': 'request'},
    'blk-write-4k': {'case': 'blk-write', 'size': 4096,
                     'title': 'blk write, 4 KiB', 'unit': 'request'},
    # Only to know what part of net-rx is the socket.
    'net-feed': {'case': 'net-feed', 'size': 60},
}
COMPARED = tuple(name for name, what in CASES.items() if 'title' in what)
MODES = {'streaming': 'ring kept topped up',
         'filled': 'filled at once, one kick'}
LAYOUTS = ('split', 'packed')
VARIANTS = {'base': 'base', 'off': 'in_order=off', 'on': 'in_order=on'}

# The driver spins: with less CPU than this share, others used the machine.
BUSY = 0.9


def rounds_of(data, name, mode, layout):
    """The rounds of one case: [{variant: run}]."""
    by_round = {}
    for run in data['measured']:
        if (run['name'], run['mode'], run['layout']) == (name, mode, layout):
            by_round.setdefault(run['round'], {})[run['variant']] = run
    return [by_round[n] for n in sorted(by_round)]


def by_regime(rounds):
    """The rounds of the regimes that are worth a row: [(regime, rounds)].

    The regime with most rounds comes first, others if they are many enough;
    mixed rounds compare what cannot be compared.
    """
    found = regimes(rounds)
    order = sorted(found, key=lambda k: (k == 'mixed', -len(found[k])))
    return [(k, found[k]) for k in order
            if k == order[0] or (k != 'mixed' and len(found[k]) >= FEW)]


def count_of(data, name, mode, layout, variant):
    """What happens for each buffer: used entries, interrupts."""
    for run in data['counts']:
        if (run['name'], run['mode'], run['layout'], run['variant']) == \
                (name, mode, layout, variant):
            sent = run['device_notifications']
            if sent is None:
                sent = run['traced_notifications']
            return (run['entries'] / run['buffers'],
                    sent / run['buffers'])
    raise KeyError(f'{name}/{mode}/{layout}/{variant} was not counted')


def summarize(data):
    """A row for each case, mode, layout, regime and variant."""
    rows = []
    for name in COMPARED:
        for mode in MODES:
            for layout in LAYOUTS:
                for k, rounds in by_regime(rounds_of(data, name, mode,
                                                     layout)):
                    rows += summarize_one(data, name, mode, layout, k, rounds)
    return rows


def summarize_one(data, name, mode, layout, which, rounds):
    rows = []
    for variant in VARIANTS:
        runs = [r[variant] for r in rounds]
        cpu = [r['cpu_ns'] / r['buffers'] for r in runs]
        base = [r['base']['cpu_ns'] / r['base']['buffers'] for r in rounds]
        entries, interrupts = count_of(data, name, mode, layout, variant)
        rows.append({
            'name': name, 'mode': mode, 'layout': layout, 'variant': variant,
            'regime': which, 'rounds': len(rounds),
            'cpu': spread(cpu),
            'ratio': spread([c / b for c, b in zip(cpu, base)]),
            'wall': spread([r['wall_ns'] / r['buffers'] for r in runs]),
            'kicks': median([r['kicks'] / r['buffers'] for r in runs]),
            'entries': entries,
            'interrupts': interrupts,
        })
    return rows


def row_line(row):
    cpu, ratio = row['cpu'], row['ratio']
    first = row['variant'] == 'base'
    versus = '' if first else \
        f'{ratio["median"]:.2f} {ratio["min"]:.2f}-{ratio["max"]:.2f}'
    return (f'  {row["layout"] if first else "":<7}'
            f'{VARIANTS[row["variant"]]:<13}'
            f'{cpu["median"]:7.1f}{cpu["min"]:7.1f}{cpu["max"]:7.1f}'
            f'  {versus:<15}{row["rounds"] if first else "":>2}'
            f'{row["wall"]["median"]:8.0f}'
            f'{number(row["entries"]):>9}{number(row["interrupts"]):>9}'
            f'{number(row["kicks"]):>9}')


def head_line(row):
    where = {'unknown': '', 'mixed': '; near and far in one round'}
    where = where.get(row['regime'], f'; caches {row["regime"]}')
    return f'{CASES[row["name"]]["title"]}, {MODES[row["mode"]]}{where}'


def table(data):
    """The table, at most 100 columns wide."""
    lines = [
        *heading(data),
        '',
        f'{"":<22}{"CPU of QEMU, ns for each":>26}  {"to the base":<13}'
        f'{"":>2}{"wall":>3}{"used":>9}{"inter-":>9}',
        f'{"":<22}{"median":>7}{"min":>7}{"max":>7}  {"median min-max":<15}'
        f'{"n":>2}{"ns":>8}{"entries":>9}{"rupts":>9}{"kicks":>9}',
    ]
    # The layouts of a case stand together, each in the regimes it has.
    order = {}
    for row in data['summary']:
        order.setdefault((row['name'], row['mode'], row['regime']),
                         []).append(row)
    for rows in order.values():
        lines += ['', head_line(rows[0])]
        lines += [row_line(row) for row in rows]
    lines.append('')
    lines += notes(data)
    return '\n'.join(lines) + '\n'


def notes(data):
    lines = []
    if data['feed']:
        cost = median([r['cpu_ns'] / r['buffers'] for r in data['feed']])
        lines.append(f'Of net receive, {cost:.0f} ns are the socket that the '
                     'packets come from (streaming).')
    runs = data['measured']
    done = 1 + max(r['round'] for r in runs)
    if done < data['rounds']:
        lines.append(f'Time was up after {done} of {data["rounds"]} rounds; '
                     'tests/bench/run --minutes gives more.')
    busy = sum(r['driver_ns'] < BUSY * r['wall_ns'] for r in runs)
    if busy * 10 > len(runs):
        lines.append(f'Others used the CPUs during {busy} of {len(runs)} '
                     'measurements; wall times are wrong, and CPU times noisy.')
        lines.append('Run it again when the machine is quiet.')
    if any(r['kick'] != 'eventfd' for r in runs):
        lines.append('Kicks went through the qtest socket, which costs more '
                     'than KVM (pidfd_getfd() is not allowed here).')
    return lines
