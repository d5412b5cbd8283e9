# SPDX-License-Identifier: GPL-2.0-or-later
"""What the stress workers tell about their work; see worker/worker.h."""

import re
import threading
import time


class Item:
    """The counters of a piece of work, and when each last rose."""

    def __init__(self):
        self.values = [0, 0, 0]
        self.reports = 0
        self.ended = False
        self.since = [time.monotonic()] * 2

    def update(self, values):
        now = time.monotonic()
        for i in (0, 1):
            # One that was never used says nothing, but not all may be so.
            if values[i] != self.values[i] or (values[i] == 0 and
                                               values[1 - i] != 0):
                self.since[i] = now
        self.values = values
        self.reports += 1

    def idle(self):
        """Seconds for which the counter that waits longest stood still."""
        return time.monotonic() - min(self.since)


class Work:
    """The work of a guest, and of a worker on this machine if there is one.

    Lines come from the threads that read them, and may be looked at by any.
    """

    def __init__(self):
        self.items = {}             # name -> Item
        self.lock = threading.Lock()
        self.done = set()           # which workers have finished
        self.work_failed = None
        self.failed_at = None       # when a worker or a disturbance failed

    def on_work(self, words, who='guest'):
        with self.lock:
            if words[:1] == ['count'] and len(words) == 6 and \
                    words[5] == ';' and all(w.isdigit() for w in words[2:5]):
                self.items.setdefault(words[1], Item()).update(
                    [int(w) for w in words[2:5]])
            elif words[:1] == ['end'] and len(words) == 2:
                self.items.setdefault(words[1], Item()).ended = True
            elif words[:1] == ['done']:
                self.done.add(who)
            elif words[:1] == ['fail'] and not self.work_failed:
                self.failed_at = self.failed_at or time.monotonic()
                self.work_failed = (f'{who}\'s worker {words[1]}: '
                                    f'{" ".join(words[2:])}')

    def total(self, prefix, which):
        with self.lock:
            return sum(item.values[which] for name, item in self.items.items()
                       if re.fullmatch(prefix + r'\d*', name))
