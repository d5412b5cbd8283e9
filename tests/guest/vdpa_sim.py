# SPDX-License-Identifier: GPL-2.0-or-later
"""A simulated vDPA network device of tests/vdpa-sim."""

import json
import subprocess
from pathlib import Path

from machine import ROOT, UsageError

BUILT = ROOT / 'build' / 'qemu' / 'build' / 'tests' / 'vdpa-sim'

# What shadow virtqueues do not take yet
REFUSED = ('ctrl_rx', 'ctrl_vlan', 'guest_announce', 'guest_offloads', 'rss',
           'hash_report')


class Simulator:
    """Where the simulator is, and how a QEMU is started with it."""

    def __init__(self, folder=BUILT):
        """folder: Path that holds what its build made."""
        self.library = Path(folder).absolute() / 'vdpa-sim.so'
        self.program = self.library.with_name('vdpa-sim-ctl')
        for path in (self.library, self.program):
            if not path.exists():
                raise UsageError(f'there is no {path}; run make first')

    def prefix(self):
        """What to put in front of a command so that it gets the simulator."""
        # ASan asks to be loaded first, but has nothing against company.
        return ['env', f'LD_PRELOAD={self.library}',
                'ASAN_OPTIONS=verify_asan_link_order=0']

    def control(self, *words):
        """Run vdpa-sim-ctl; return what it prints."""
        try:
            return subprocess.run([self.program, *map(str, words)],
                                  check=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True).stdout
        except (OSError, subprocess.SubprocessError) as e:
            raise UsageError(getattr(e, 'output', None) or str(e)) from e


class Device:
    """A device, which is a file."""

    def __init__(self, simulator, path, pairs, *settings):
        """Create it.  settings: NAME=VALUE, as "vdpa-sim-ctl help" has them."""
        self.simulator = simulator
        self.path = path
        simulator.control('create', path, f'pairs={pairs}',
                          *(f'{name}=off' for name in REFUSED), *settings)

    def set(self, *settings):
        self.simulator.control('set', self.path, *settings)

    def show(self):
        """State and counters, as a dictionary."""
        return json.loads(self.simulator.control('show', self.path))
