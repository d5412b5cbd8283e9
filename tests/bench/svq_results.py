# SPDX-License-Identifier: GPL-2.0-or-later
"""What shadow virtqueues cost: cases, medians and ratios, table, goals."""

from statistics import median

from common import FEW, heading, number, regimes, spread

RINGS = {'split': 'split', 'packed': 'packed',
         'split-in-order': 'split, in order',
         'packed-in-order': 'packed, in order'}

VARIANTS = {
    'pass': {'title': 'passthrough', 'svq': 'off'},
    'base': {'title': 'base, main loop', 'svq': 'on'},
    'main': {'title': 'main loop', 'svq': 'on'},
    'main-bell': {'title': 'main loop, doorbell', 'svq': 'on',
                  'doorbell': 'on'},
    'one': {'title': 'one IOThread', 'svq': 'on', 'iothreads': 1},
    'io': {'title': 'IOThreads', 'svq': 'on', 'iothreads': 'pairs'},
    'io-bell': {'title': 'IOThreads, doorbell', 'svq': 'on',
                'iothreads': 'pairs', 'doorbell': 'on'},
}

PLAIN = ('pass', 'main', 'io')

# A queue that moves nothing for so long is worth a word, nanoseconds.
STUCK = 100e6

# Nothing else than this used the CPU of driver and device if it is all of it.
BUSY = 0.9


class Case:
    """What is measured together, so that it can be compared.

    @runs are (rings, variant) pairs.  The base knows only split rings: its
    shadow virtqueue on these is what everything is compared with.
    """

    def __init__(self, name, title, direction, size=64, pairs=1,
                 device='polls', runs=(), probe=False):
        self.name = name
        self.title = title
        self.direction = direction
        self.size = size
        self.pairs = pairs
        self.device = device
        self.probe = probe
        self.runs = tuple(runs)


def matrix(*more):
    """All rings with and without shadow virtqueues."""
    return [('split', 'base'), *more] + [(r, v) for r in RINGS for v in PLAIN]


def all_cases():
    cases = []
    for direction, what in (('tx', 'transmit'), ('rx', 'receive')):
        for pairs in (1, 2, 4):
            for size in (64, 1500):
                if direction == 'rx' and pairs > 1:
                    continue
                queues = f', {pairs} pairs' if pairs > 1 else ''
                cases.append(Case(
                    f'{direction}-{size}-{pairs}',
                    f'{what}, {size} B{queues}', direction, size, pairs,
                    runs=matrix(*[('split', 'one')] * (pairs > 1))))
    cases += [
        Case('sleeps', 'transmit, 64 B, device sleeps when idle', 'tx',
             device='sleeps',
             runs=[('split', v) for v in ('base', 'pass', 'main', 'io')]),
        Case('wants', 'transmit, 64 B, device wants every kick', 'tx',
             device='wants',
             runs=[('split', v) for v in ('base', 'pass', 'main', 'main-bell',
                                          'io', 'io-bell')]),
        Case('loop', 'round trip of one packet', 'loop', runs=matrix()),
        Case('delay', 'main loop, under full load', 'tx', probe=True,
             runs=[('split', v) for v in ('base', 'pass', 'main', 'io')]),
    ]
    return {c.name: c for c in cases}


CASES = all_cases()


def per_packet(run, key):
    return run[key] / max(run['packets'], 1)


def rate(run):
    """Million packets per second."""
    return run['packets'] * 1e3 / run['wall_ns']


def capacity(run):
    """Million packets per second if each IOThread had a CPU for itself.

    By their CPU time, since the machine may have fewer CPUs than threads.
    Pairs are dealt to the IOThreads in turn.
    """
    threads = [t for t in run['threads'] if t['name'].startswith('IO io')]
    total = 0
    for t in threads:
        n = int(t['name'][len('IO io'):])
        packets = sum(run['pair_packets'][n::run['iothreads']])
        total += packets * 1e3 / t['cpu_ns']
    return total


def rounds_of(data, name):
    """The rounds of a case: [{(rings, variant): run}]."""
    by_round = {}
    for run in data['measured']:
        if run['name'] == name:
            by_round.setdefault(run['round'], {})[
                run['rings'], run['variant']] = run
    return [by_round[n] for n in sorted(by_round)]


def percentile(samples, part):
    samples = sorted(samples)
    return samples[int(part * (len(samples) - 1))]


def references(case, rings):
    """What a variant is compared with: base, passthrough, one IOThread."""
    base = ('split', 'base')
    without = (rings, 'pass')
    if without not in case.runs:
        without = ('split', 'pass')
    one = ('split', 'one')
    return base, without, one if one in case.runs else None


def comparable(case, rounds, rings, variant):
    """The rounds by regime, of what belongs to one comparison alone.

    A case takes some seconds, and the regime may change in the middle of it.
    """
    keys = {(rings, variant), *filter(None, references(case, rings))}
    return regimes([{k: r[k] for k in keys} for r in rounds])


def summarize(data):
    """A row for each case, regime, rings and variant."""
    rows = []
    for case in CASES.values():
        rounds = rounds_of(data, case.name)
        if not rounds:
            continue
        found = {run: comparable(case, rounds, *run) for run in case.runs}
        total = {}
        for by_name in found.values():
            for k, runs in by_name.items():
                total[k] = total.get(k, 0) + len(runs)
        order = sorted(total, key=lambda k: (k == 'mixed', -total[k]))
        shown = [k for k in order if k == order[0] or
                 (k != 'mixed' and total[k] >= FEW * len(found))]
        # Everything has a row at least once.
        shown += [k for k in order if k not in shown and
                  any(k in f and not set(shown) & set(f)
                      for f in found.values())]
        for k in shown:
            for (rings, variant), by_name in found.items():
                if k in by_name:
                    rows.append({'name': case.name, 'regime': k,
                                 'rings': rings, 'variant': variant,
                                 **figures(data, case, by_name[k], rings,
                                           variant)})
    return rows


def figures(data, case, rounds, rings, variant):
    first, second, third = references(case, rings)
    runs = [r[rings, variant] for r in rounds]
    base = [r[first] for r in rounds]
    without = [r[second] for r in rounds]
    cpu = [per_packet(r, 'cpu_ns') for r in runs]
    row = {
        'rounds': len(rounds),
        'cpu': spread(cpu),
        'cpu_ratio': spread([c / per_packet(b, 'cpu_ns')
                             for c, b in zip(cpu, base)]),
        'added': spread([c - per_packet(p, 'cpu_ns')
                         for c, p in zip(cpu, without)]),
        'rate': spread([rate(r) for r in runs]),
        'rate_ratio': spread([rate(r) / rate(b) for r, b in zip(runs, base)]),
        'device_kicks': median([per_packet(r, 'device_kicks_doorbell') +
                                per_packet(r, 'device_kicks_eventfd')
                                for r in runs]),
        'syscalls': syscalls(data, case, rings, variant),
    }
    if third and variant in ('one', 'io'):
        row['capacity'] = spread([capacity(r) for r in runs])
        row['capacity_ratio'] = spread([capacity(r[rings, variant]) /
                                        capacity(r[third]) for r in rounds])
    if case.direction == 'loop':
        for p in ('p50', 'p99'):
            row[p] = spread([r['trip_ns'][p] / 1e3 for r in runs])
    if case.probe:
        add_delays(row, runs, without)
    return row


def add_delays(row, runs, without):
    """The main loop's delays; of few samples, so those of all rounds."""
    delays, others = ([d / 1e3 for r in of for d in r['probe_ns']]
                      for of in (runs, without))
    row['delays'] = len(delays)
    for p, part in (('p50', 0.5), ('p99', 0.99), ('max', 1)):
        each = [percentile(r['probe_ns'], part) / 1e3 for r in runs]
        row[p] = {'median': percentile(delays, part),
                  'min': min(each), 'max': max(each)}
    row['p99_ratio'] = row['p99']['median'] / percentile(others, 0.99)


def syscalls(data, case, rings, variant):
    """System calls of QEMU for each packet, or None."""
    for run in data['counted']:
        if (run['name'], run['rings'], run['variant']) == \
                (case.name, rings, variant):
            return None if run['syscalls'] is None else \
                per_packet(run, 'syscalls')
    return None


# The table.

def short(value):
    return '-' if value is None else number(value)


def row_line(row, first):
    cpu, ratio = row['cpu'], row['cpu_ratio']
    versus = '' if row['variant'] in ('base', 'pass') else \
        f'{ratio["median"]:.2f} {ratio["min"]:.2f}-{ratio["max"]:.2f}'
    faster = '' if row['variant'] == 'base' else \
        f'{row["rate_ratio"]["median"]:.2f}'
    added = '' if row['variant'] == 'pass' else f'{row["added"]["median"]:.1f}'
    return (f' {RINGS[row["rings"]] if first else "":<17}'
            f'{VARIANTS[row["variant"]]["title"]:<20}'
            f'{cpu["median"]:6.1f}{cpu["min"]:5.0f}{cpu["max"]:5.0f}'
            f' {versus:<14}{added:>6}'
            f'{row["rate"]["median"]:5.1f}{faster:>6}'
            f'{short(row["syscalls"]):>7}{number(row["device_kicks"]):>7}')


def delay_line(row, first):
    p50, p99 = row['p50'], row['p99']
    worst = f'{row["max"]["median"]:9.0f}' if 'max' in row else ''
    return (f' {RINGS[row["rings"]] if first else "":<17}'
            f'{VARIANTS[row["variant"]]["title"]:<20}'
            f'{p50["median"]:8.1f}{p99["median"]:9.1f}'
            f'{p99["min"]:9.1f}{p99["max"]:9.1f}{worst}')


HEAD = (f'{"":<38}{"CPU of QEMU, ns":>16} {"to the base":<14}{"over":>6}'
        f'{"million":>8}{"to":>3}{"system":>7}{"device":>7}\n'
        f'{"for each packet":<38}{"median":>6}{"min":>5}{"max":>5} '
        f'{"median min-max":<14}{"pass.":>6}{"per s":>6}{"base":>5}'
        f'{"calls":>7}{"kicks":>7}')

DELAY_HEAD = f'{"microseconds":<38}{"p50":>8}{"p99":>9}{"p99 min":>9}' \
    f'{"p99 max":>9}{"max":>9}'


def head_line(case, rows):
    where = {'unknown': '', 'mixed': '; near and far in one round'}
    k = rows[0]['regime']
    counts = sorted({r['rounds'] for r in rows})
    return f'{case.title}{where.get(k, f"; caches {k}")}; ' \
        f'rounds: {"-".join(map(str, (counts[0], counts[-1])[:len(counts)]))}'


def table(data):
    """The table, at most 100 columns wide."""
    lines = [*heading(data), '', HEAD]
    groups = {}
    for row in data['summary']:
        groups.setdefault((row['name'], row['regime']), []).append(row)
    shown = False
    for (name, _), rows in groups.items():
        delay = 'p99' in rows[0]
        if delay and not shown:
            lines += ['', DELAY_HEAD]
            shown = True
        lines += ['', head_line(CASES[name], rows)]
        last = None
        for row in rows:
            lines.append((delay_line if delay else row_line)(
                row, row['rings'] != last))
            last = row['rings']
    lines += ['', *goal_lines(data), *notes(data)]
    return '\n'.join(lines) + '\n'


def find(data, name, rings, variant):
    """The row of the regime with most rounds, or None."""
    rows = [r for r in data['summary'] if
            (r['name'], r['rings'], r['variant']) == (name, rings, variant)]
    return max(rows, key=lambda r: r['rounds'], default=None)


def goals(data):
    """What was to be reached: (text, value, limit, at most or at least)."""
    found = []

    def goal(text, value, most=None, least=None):
        if value is not None:
            met = value <= most if most is not None else value >= least
            found.append({'text': text, 'value': value, 'met': met,
                          'most': most, 'least': least})

    for name, what in (('tx-64-1', ''), ('sleeps', ', device sleeps')):
        for variant in ('main', 'io'):
            row = find(data, name, 'split', variant)
            if not row:
                continue
            where = VARIANTS[variant]['title'] + what
            goal(f'CPU for each packet, to the base: {where}',
                 row['cpu_ratio']['median'], most=0.35)
            goal(f'packets per second, to the base: {where}',
                 row['rate_ratio']['median'], least=2.5)
    for name in ('tx-64-1', 'tx-1500-1', 'wants'):
        row = find(data, name, 'split', 'io')
        if row:
            goal(f'system calls for each packet: IOThreads, {name}',
                 row['syscalls'], most=0.05)
    row = find(data, 'delay', 'split', 'io')
    if row:
        goal("main loop's p99 delay, to passthrough: IOThreads",
             row['p99_ratio'], most=1.5)
    row = find(data, 'tx-64-2', 'split', 'io')
    if row:
        goal('packets of two pairs, in two IOThreads to one, by their CPU '
             'time', row['capacity_ratio']['median'], least=1.7)
    for rings in RINGS:
        for variant in ('main', 'io'):
            row = find(data, 'tx-64-1', rings, variant)
            if row:
                goal(f'ns of CPU added to passthrough: '
                     f'{VARIANTS[variant]["title"]}, {RINGS[rings]}',
                     row['added']['median'], most=80)
    return found


def goal_lines(data):
    lines = ['goals']
    for g in goals(data):
        limit = f'at most {g["most"]:g}' if g['most'] is not None else \
            f'at least {g["least"]:g}'
        lines.append(f'  {"met   " if g["met"] else "MISSED"} '
                     f'{g["value"]:8.3g}  {limit:<13} {g["text"]}')
    return lines


def notes(data):
    lines = ['']
    runs = data['measured']
    done = 1 + max(r['round'] for r in runs)
    if done < data['rounds']:
        lines.append(f'Time was up after {done} of {data["rounds"]} rounds; '
                     '--minutes gives more.')
    full = [r for r in runs if r['dir'] != 'loop']
    busy = sum(r['driver_ns'] + r['device_ns'] < BUSY * r['wall_ns']
               for r in full)
    if busy * 10 > len(full):
        lines.append(f'Others used the CPUs during {busy} of {len(full)} '
                     'measurements: rates and delays are')
        lines.append('wrong, and CPU times noisy. Run it again when the '
                     'machine is quiet.')
    stuck = [r for r in runs if r['longest_pause_ns'] > STUCK]
    if stuck:
        lines.append(f'In {len(stuck)} measurements a queue moved nothing for '
                     'more than 100 ms, for instance in')
        lines.append(f'{stuck[0]["name"]}, {stuck[0]["rings"]}, '
                     f'{stuck[0]["variant"]}: others had the CPUs, or a kick '
                     'was lost.')
    if any(r['kick'] != 'eventfd' for r in runs if r['variant'] != 'pass'):
        lines.append('Some kicks went through the qtest socket, which costs '
                     'more than KVM.')
    if any(r['syscalls'] is None for r in data['counted']):
        lines.append('System calls were not counted: that needs tracefs and '
                     'the right to use it (root).')
    return lines
