# SPDX-License-Identifier: GPL-2.0-or-later
"""What comparisons of measurements have in common."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(os.path.realpath(__file__)).parent.parent.parent
OURS = ROOT / 'build' / 'qemu' / 'build'

# A cache line's round trip below this is the near regime, nanoseconds: some
# machines know two, of about 50 to 80 and of 400 and more, and change between
# them for minutes.
NEAR = 160

# Fewer rounds than this are not worth a median of their own.
FEW = 3


class UsageError(Exception):
    """The run cannot start; the text says what to do."""


# Running programs.

def executable(*paths):
    for path in paths:
        if not os.access(path, os.X_OK):
            raise UsageError(f'{path} is not there; build it first')


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ''


def measure(command):
    """What a program that measures says, as a dictionary."""
    done = subprocess.run(command, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise RuntimeError(
            f'{Path(command[0]).name} failed ({done.returncode}): '
            f'{done.stderr.strip() or "no message"}; to see more, run: '
            f'{" ".join(command)}')
    return json.loads(done.stdout)


# What was measured, and on what.

def machine():
    model = ''
    for line in Path('/proc/cpuinfo').read_text('utf-8').splitlines():
        if line.startswith('model name'):
            model = line.split(':', 1)[1].strip()
            break
    return {
        'cpu': model,
        'cpus': len(os.sched_getaffinity(0)),
        'kernel': platform.release(),
        'load': os.getloadavg()[0],
    }


def version_of(qemu):
    return (output_of(str(qemu), '--version').splitlines() or [''])[0]


def programs(ours, base):
    return {
        'ours': {
            'version': version_of(ours),
            'commit': output_of('git', '-C', str(ROOT), 'describe',
                                '--always', '--dirty', '--abbrev=12'),
        },
        'base': {'version': version_of(base)},
    }


def new_data(ours, base, args):
    return {
        'format': 1,
        'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        'machine': machine(),
        'programs': programs(ours, base),
        'seconds': args.seconds,
        'rounds': args.rounds,
    }


def heading(data):
    """The first lines of a table."""
    m, p = data['machine'], data['programs']
    return [
        f'{p["ours"]["version"]}, commit {p["ours"]["commit"] or "unknown"},',
        f'against {p["base"]["version"]} without changes;',
        f'{m["cpu"][:48]}, {m["cpus"]} CPUs, Linux {m["kernel"][:32]}',
    ]


class Progress:
    """One line on the terminal that tells how far it is."""

    def __init__(self, total):
        self.start = time.monotonic()
        self.total = total
        self.done = 0
        self.shown = 0

    def step(self, text):
        self.done += 1
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self.shown < 0.2:
            return
        self.shown = now
        left = (now - self.start) * (self.total - self.done) / self.done
        print(f'\rbench: {text}, {left / 60:.1f} minutes left\033[K', end='',
              file=sys.stderr, flush=True)

    def end(self):
        if sys.stderr.isatty():
            print('\r\033[K', end='', file=sys.stderr, flush=True)


# Figures.

def regime(runs):
    """near, far or mixed; unknown with one CPU."""
    trips = [r[k] for r in runs
             for k in ('ping_pong_before', 'ping_pong_after')]
    if any(t is None for t in trips):
        return 'unknown'
    if all(t < NEAR for t in trips):
        return 'near'
    return 'far' if all(t >= NEAR for t in trips) else 'mixed'


def regimes(rounds):
    """The rounds, each a dictionary of runs, by regime."""
    found = {}
    for runs in rounds:
        found.setdefault(regime(runs.values()), []).append(runs)
    return found


def spread(values):
    return {'median': median(values), 'min': min(values), 'max': max(values)}


def number(value):
    """A count for each buffer, short."""
    if value == 0:
        return '0'
    return f'{value:.4f}' if value < 0.9995 else f'{value:.2f}'


# Files and tests.

def to_json(data):
    """One measurement to a line, so that a person can look for one."""
    parts = []
    for key, value in data.items():
        if isinstance(value, list):
            lines = ',\n    '.join(json.dumps(v) for v in value)
            parts.append(f'  {json.dumps(key)}: [\n    {lines}\n  ]')
        else:
            parts.append(f'  {json.dumps(key)}: {json.dumps(value)}')
    return '{\n' + ',\n'.join(parts) + '\n}\n'


def write_files(out, files):
    """Files {name: text} into a folder, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        part = out / (name + '.part')
        part.write_text(text, 'utf-8')
        part.replace(out / name)


class Tap:
    """Test results, as TAP."""

    def __init__(self):
        self.n = 0
        self.bad = 0

    def report(self, name, wrong, note=''):
        self.n += 1
        self.bad += bool(wrong)
        print(f'{"not " if wrong else ""}ok {self.n} {name}{note}', flush=True)
        for text in wrong:
            print(f'# {text}', flush=True)
