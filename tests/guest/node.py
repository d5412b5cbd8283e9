# SPDX-License-Identifier: GPL-2.0-or-later
"""One guest of the stress test: its devices, its work, its disturbances.

Threads: the main thread boots the guest, checks it now and then, and ends it;
one thread of its own disturbs it and is, meanwhile, the only one that asks it
for steps or replaces its QEMU.  The counters of the work come from the threads
that read the guest's and the host's worker, under the node's lock.
"""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

from machine import BOOT_TIMEOUT, open_log
from vm import Guest, GuestError, die_with_parent
from work import Work

MEMORY = 320                        # MiB
BALLOON = (220, MEMORY)             # MiB, from and to
BLOCK = 16384                       # bytes, as the worker's connections count
DISK = 16 << 20
SCSI = 8 << 20
PLUGGED = 256 << 10
STALL = 40                          # seconds; a link flap costs TCP a few
PACKETS = 4000                      # for each start of pktgen

# How often each disturbance is in the deck; it is shuffled, played, and
# shuffled again.
DECK = {'flap': 6, 'resize': 6, 'channels': 3, 'balloon': 2, 'pause': 3,
        'plug': 1, 'look': 2, 'migrate': 1}
SHORT_DECK = {'flap': 2, 'resize': 3, 'channels': 1, 'balloon': 1, 'pause': 1,
              'plug': 1, 'look': 1, 'migrate': 1}
RX_MOST = 512                       # rx_queue_size
TX_MOST = 256                       # all that QEMU gives without vhost
COUNTERS = ('published-buffers', 'published-entries', 'publications',
            'notifications')

# The devices whose driver leaves nothing in use when it is idle.
DRAINED = ('link', 'tap', 'sink', 'disk', 'scsi')


class Node(Work):
    """One layout: its guest, in one QEMU after the other, and its worker."""

    def __init__(self, setup, options, number, layout, link):
        super().__init__()
        self.setup = setup
        self.options = options
        self.number = number        # from 1
        self.layout = layout
        self.link = link            # this side of the socket
        self.title = (f'{layout} ring, in_order='
                      f'{"on" if options.in_order else "off"}')
        self.random = random.Random(f'{options.seed}{layout}')
        self.stack = contextlib.ExitStack()
        self.guest = None
        self.generation = 0         # QEMU processes before this one
        self.names = {}             # NIC -> its name in the guest
        self.counts = dict.fromkeys(DECK, 0)
        self.last = {}              # (device, queue) -> its counters
        self.published = {}         # counter -> sum over devices and QEMUs
        self.failure = None         # of the disturbing thread
        self.enough = threading.Event()     # each disturbance was met
        self.stop = threading.Event()
        self.quiet = threading.Event()      # no disturbance is under way
        self.closed = threading.Event()
        self.worker = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.stack.close()
        if self.guest:
            self.guest.__exit__()
        self.closed.set()
        if self.worker:
            self.worker.kill()
            self.worker.wait()
            self.worker.stdout.close()

    # The guest's start.

    def files(self):
        """Disks that are gone with the last who has them open."""
        self.disks = []
        for size in (DISK, SCSI, PLUGGED):
            f = self.stack.enter_context(
                tempfile.TemporaryFile(prefix='guest-disk.'))
            f.write(self.random.randbytes(size))
            f.flush()
            ro = os.open(f'/proc/self/fd/{f.fileno()}', os.O_RDONLY)
            self.stack.callback(os.close, ro)
            self.disks.append((f.fileno(), ro))

    def nics(self):
        return ['link', 'sink'] + (['tap'] if self.options.tap else [])

    def command(self, echo):
        order = 'on' if self.options.in_order else 'off'
        ring = (f',packed={"on" if self.layout == "packed" else "off"},'
                f'in_order={order}')
        mac = f'52:54:00:12:{self.number:02x}'

        def nic(name, last, more=''):
            return ['-device', f'virtio-net-pci,id={name},netdev={name},'
                    f'mac={mac}:{last:02x},romfile=,'
                    f'rx_queue_size={RX_MOST}{more}{ring}']

        command = self.setup.machine(self.setup.accel, MEMORY)
        for i, pair in enumerate(self.disks):
            for fd in pair:
                command += ['-add-fd', f'fd={fd},set={i + 1}']
            command += ['-blockdev', f'driver=raw,node-name=file{i + 1},'
                        'discard=ignore,file.driver=file,'
                        f'file.filename=/dev/fdset/{i + 1}']
        command += [
            '-smp', '2', '-object', 'iothread,id=iothread',
            '-netdev', f'dgram,id=link,local.type=fd,'
            f'local.str={self.link.fileno()}',
            '-netdev', 'hubport,id=sink,hubid=0',
            '-netdev', 'hubport,id=hub1,hubid=0',
            *nic('link', 1), *nic('sink', 2),
            '-device', 'virtio-blk-pci,id=disk,drive=file1,num-queues=2,'
            f'iothread=iothread{ring}',
            '-device', 'virtio-scsi-pci,id=scsi,num_queues=2,'
            f'indirect_desc=off{ring}',
            '-device', 'scsi-hd,bus=scsi.0,drive=file2',
            '-device', f'virtio-serial-pci,id=serial{ring}',
            '-chardev', f'socket,id=echo,fd={echo}',
            '-device', 'virtserialport,bus=serial.0,chardev=echo,name=echo',
            '-device', f'virtio-rng-pci,id=rng{ring}',
            '-device', f'virtio-balloon-pci,id=balloon{ring}',
            '-device', 'pcie-root-port,id=root0,chassis=1']
        if self.options.tap:
            command += ['-netdev', f'tap,id=tap,ifname=tap{self.number}.'
                        f'{self.generation % 2},queues=2,vhost=off,'
                        'script=no,downscript=no',
                        *nic('tap', 3, ',mq=on,indirect_desc=off')]
        return command

    def launch(self, incoming=()):
        """Start a QEMU, which may be one to migrate to."""
        near, far = socket.socketpair()
        fds = [fd for pair in self.disks for fd in pair]
        with far:
            guest = Guest(self.command(far.fileno()) + list(incoming),
                          self.log, BOOT_TIMEOUT[self.setup.accel],
                          fds + [far.fileno(), self.link.fileno()], self.guest)
        guest.on_work = self.on_work
        if self.guest:
            self.excuse(guest)
        threading.Thread(target=self.echo, args=(near,), daemon=True).start()
        return guest

    def excuse(self, guest):
        """On a busy machine the other guest may take nothing for a while.

        If that lasts, the connections over the link stand still.
        """
        guest.excuse = re.compile(rf'{self.names["link"]}: (NETDEV WATCHDOG|'
                                  'TX timeout)')

    @staticmethod
    def echo(connection):
        """The other end of the serial port."""
        with connection, contextlib.suppress(OSError):
            while True:
                data = connection.recv(65536)
                if not data:
                    return
                connection.sendall(data)

    def boot(self):
        self.log, self.log_lock = open_log(f'stress-{self.layout}')
        if self.log_lock:
            self.stack.enter_context(self.log_lock)
        self.files()
        self.guest = self.launch()

    def booted(self):
        """Wait for the guest, and start its work."""
        self.kernel = self.guest.wait_boot()
        found = {}
        for words in self.guest.step('devices'):
            if words[0] == 'device' and len(words) == 4:
                found[words[2]] = (words[1], words[3])
        for last, name in ((1, 'link'), (2, 'sink'), (3, 'tap')):
            mac = f'52:54:00:12:{self.number:02x}:{last:02x}'
            if name not in self.nics():
                continue
            if mac not in found:
                raise self.guest.broken(f'no driver bound to NIC {name}')
            self.names[name], bits = found[mac]
            for bit, feature, wanted in (
                    (35, 'VIRTIO_F_IN_ORDER', self.options.in_order),
                    (34, 'VIRTIO_F_RING_PACKED', self.layout == 'packed'),
                    (40, 'VIRTIO_F_RING_RESET', True)):
                if (bits[bit:bit + 1] == '1') != wanted:
                    raise self.guest.broken(
                        f'{feature} of {name}: '
                        f'{"not " if wanted else ""}negotiated')
        self.excuse(self.guest)
        n = self.number
        step = self.guest.values
        step(f'up {self.names["link"]} 10.9.0.{n}/24')
        step(f'mtu {self.names["link"]} 4000')
        step(f'up {self.names["sink"]}')
        step(f'pktgen_setup {self.names["sink"]} {PACKETS} 60')
        work = ['listen:peer:5000', f'connect:link:10.9.0.{3 - n}:5000:3',
                'disk:disk:/dev/vda:2:32', 'disk:scsi:/dev/sda:1:16',
                'serial:serial:echo', 'random:rng:/dev/hwrng',
                f'pktgen:sink:{self.names["sink"]}']
        if self.options.tap:
            self.start_host_worker()
            step(f'up {self.names["tap"]} 10.8.{n}.2/24')
            step(f'channels {self.names["tap"]} 2')
            work.append(f'connect:tap:10.8.{n}.1:{5000 + n}:4')
        self.work = work

    def begin_work(self):
        """Let it go, when both guests are ready."""
        self.guest.step(f'work {" ".join(self.work)}')

    def start_host_worker(self):
        self.worker = subprocess.Popen(
            [self.setup.worker, f'listen:host:{5000 + self.number}'],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            start_new_session=True, preexec_fn=die_with_parent)

        def read():
            for line in self.worker.stdout:
                self.on_work(line.split()[1:], 'host')
        threading.Thread(target=read, daemon=True).start()

    # Judging.

    def check(self, stalls=True):
        """Raise GuestError if something is wrong; called now and then."""
        guest = self.guest
        if self.failure:
            raise self.failure
        if self.work_failed:
            raise self.broken(self.work_failed)
        if guest.trouble:
            raise self.broken(f'the guest\'s kernel reported: {guest.trouble}')
        if guest.errors_tail:
            raise self.broken('QEMU complained')
        if guest.process.poll() is not None and guest is self.guest:
            raise self.broken(f'QEMU ended (status {guest.process.poll()})')
        repeats = self.total('serial', 2)
        # The last one may not be counted yet.
        if repeats > self.counts['migrate'] + 1:
            raise self.broken(f'virtio-serial lost {repeats} messages; the '
                              'migrations excuse no more than one each')
        if not stalls:
            return
        with self.lock:
            still = [(item.idle(), name, item.values)
                     for name, item in self.items.items() if not item.ended]
        if still and max(still)[0] > STALL:
            for idle, name, values in sorted(still, reverse=True):
                guest.write_log('stress', f'{name}: {values}, still for '
                                f'{idle:.0f} s')
            stuck = [f'{name} (at {values[0]} bytes, {values[1]} operations)'
                     for idle, name, values in sorted(still) if idle > STALL]
            raise self.broken(f'no progress for {STALL} s of '
                              f'{", ".join(stuck)}')

    def broken(self, text):
        """A GuestError that also tells what waits in which queue."""
        if self.guest.process.poll() is None:
            with contextlib.suppress(GuestError, KeyError):
                for line in self.guest.log_queues():
                    text += f'\n  {line}'
        return self.guest.broken(f'{self.title}: {text}')

    # Disturbances.

    def disturb(self):
        """Until told to stop; a thread of its own."""
        try:
            while not self.stop.is_set():
                deck = SHORT_DECK if self.options.check else DECK
                cards = [name for name, count in deck.items()
                         if name in self.options.only and
                         (self.options.tap or name != 'channels')
                         for _ in range(count)]
                self.random.shuffle(cards)
                for card in cards:
                    if self.stop.wait(self.random.uniform(0, 0.6)):
                        return
                    began = time.monotonic()
                    self.guest.write_log('stress', card)
                    getattr(self, card)()
                    self.counts[card] += 1
                    self.guest.write_log(
                        'stress', f'{card}: {time.monotonic() - began:.2f} s')
                self.enough.set()
                if not cards:
                    self.stop.wait()
        except GuestError as e:
            self.failure = GuestError(f'{self.title}: {e}')
        except Exception as e:      # or it would be lost with the thread
            self.failure = self.broken(f'{type(e).__name__}: {e}')
        finally:
            if self.failure:
                self.failed_at = self.failed_at or time.monotonic()
            self.enough.set()
            self.quiet.set()
            # The QEMU that this thread started would end with it.
            self.closed.wait()

    def flap(self):
        """A link goes down and up again, on the side of QEMU."""
        name = self.random.choice([n for n in self.nics() if n != 'sink'])
        self.guest.qmp('set_link', name=name, up=False)
        time.sleep(self.random.uniform(0.01, 0.5))
        self.guest.qmp('set_link', name=name, up=True)

    def resize(self):
        """Both rings of a NIC change their size, which resets each queue."""
        name = self.random.choice(self.nics())
        # With the smallest buffers a packet of 64 KiB takes 43 of them.
        if self.layout == 'packed':
            rx, tx = (self.random.randint(64, RX_MOST),
                      self.random.randint(32, TX_MOST))
        else:
            rx, tx = (self.random.choice((64, 128, 256, RX_MOST)),
                      self.random.choice((32, 64, 128, TX_MOST)))
        self.guest.values(f'ring {self.names[name]} {rx} {tx}')

    def channels(self):
        """A NIC uses one pair of queues, or two."""
        self.guest.values(f'channels {self.names["tap"]} '
                          f'{self.random.randint(1, 2)}')

    def balloon(self):
        """The guest gives memory, or gets it back."""
        target = self.random.randint(*BALLOON) << 20
        self.guest.qmp('balloon', value=target)
        deadline = time.monotonic() + STALL
        while self.guest.qmp('query-balloon')['actual'] != target:
            if time.monotonic() > deadline:
                raise self.broken(
                    f'balloon: asked for {target}, still at '
                    f'{self.guest.qmp("query-balloon")["actual"]} '
                    f'after {STALL} s')
            time.sleep(0.05)

    def pause(self):
        """The machine stops and continues."""
        self.guest.qmp('stop')
        time.sleep(self.random.uniform(0.01, 0.3))
        self.guest.qmp('cont')

    def plug(self):
        """A disk is plugged in, read, and unplugged."""
        self.guest.qmp('device_add', {'in_order': self.options.in_order},
                       driver='virtio-blk-pci', id='plugged', bus='root0',
                       drive='file3', serial='plugged',
                       packed=self.layout == 'packed')
        self.guest.values('plugged plugged')
        self.guest.qmp('device_del', id='plugged')
        deadline = time.monotonic() + STALL
        while any(entry['name'] == 'plugged' for entry in
                  self.guest.qmp('qom-list', path='/machine/peripheral')):
            if time.monotonic() > deadline:
                raise self.broken('the plugged disk cannot be unplugged')
            time.sleep(0.05)

    def look(self):
        """QMP and HMP tell the same, and the truth, about every queue."""
        for name, path in self.guest.virtio_paths().items():
            for queue, before in self.guest.virtio_queues(path).items():
                said = self.guest.qmp(
                    'human-monitor-command',
                    command_line=f'info virtio-queue-status {path} {queue}')
                after = self.guest.qmp('x-query-virtio-queue-status',
                                       path=path, queue=queue)
                shown = dict(re.findall(r'^ +(\S+): +(\S+)', said, re.M))
                self.compare(f'{name} queue {queue}', before, shown, after)

    def compare(self, what, before, shown, after):
        def wrong(text):
            return self.broken(f'introspection of {what}: {text}; QMP '
                               f'{before}, HMP {shown}, QMP again {after}')

        if before['layout'] != self.layout or shown['layout'] != self.layout:
            raise wrong('wrong layout')
        if before['in-order'] != self.options.in_order or \
                shown['in_order'] != \
                ('true' if self.options.in_order else 'false'):
            raise wrong('wrong order')
        if not 0 <= int(shown['held_back']) <= before['vring-num']:
            raise wrong('impossible number of buffers held back')
        last = self.last.get(what, {})
        for name in COUNTERS:
            if not (last.get(name, 0) <= before[name] <=
                    int(shown[name.replace('-', '_')]) <= after[name]):
                raise wrong(f'{name} went back (it was {last.get(name, 0)})')
        # The queue goes on while its counters are read one by one.
        if not (before['publications'] <= after['published-entries'] and
                before['published-entries'] <= after['published-buffers']):
            raise wrong('more publications than entries, or more entries '
                        'than buffers')
        self.last[what] = after

    def migrate(self):
        """The guest goes on in another QEMU."""
        source = self.guest
        with tempfile.TemporaryDirectory(prefix='guest-stress.') as folder:
            uri = f'unix:{folder}/migration'
            self.generation += 1
            target = self.launch(['-incoming', uri])
            try:
                source.migrate(target, uri)
            except BaseException:
                target.__exit__()
                raise
        self.collect_counters(source)
        self.guest = target
        source.qmp('quit')
        source.wait_end('end after migration')
        if source.errors_tail:
            raise source.broken('QEMU complained')
        source.__exit__()

    def collect_counters(self, guest):
        """Add up what the queues of a QEMU counted, before it ends."""
        for path in guest.virtio_paths().values():
            for state in guest.virtio_queues(path).values():
                for name in COUNTERS:
                    self.published[name] = (self.published.get(name, 0) +
                                            state[name])
        self.last = {}

    # The end.

    def finish(self):
        self.guest.step('finish')
        if self.worker:
            self.worker.send_signal(signal.SIGTERM)

    def finished(self):
        return self.done >= ({'guest', 'host'} if self.worker else {'guest'})

    def verify(self):
        """After the workers' end: nothing may be left anywhere."""
        self.check(stalls=False)
        if self.worker and self.worker.wait(timeout=10):
            raise self.broken('the host\'s worker ended with status '
                              f'{self.worker.returncode}')
        if self.options.tap:
            for sent, received in (('tap', 'host'), ('host', 'tap')):
                if self.total(sent, 1) * BLOCK != self.total(received, 0):
                    raise self.broken(
                        f'{sent} sent {self.total(sent, 1) * BLOCK} bytes by '
                        f'TCP, {received} received '
                        f'{self.total(received, 0)}')
        deadline = time.monotonic() + 10
        while True:
            waiting = []
            for name, path in self.guest.virtio_paths().items():
                for queue, state in self.guest.virtio_queues(path).items():
                    if state['held-back'] or \
                            (name in DRAINED and state['inuse']):
                        waiting.append(f'{name} queue {queue}')
            if not waiting:
                break
            if time.monotonic() > deadline:
                raise self.broken(f'buffers never returned in '
                                  f'{", ".join(waiting)}')
            time.sleep(0.2)
        self.look()
        self.collect_counters(self.guest)
        sent = self.total('sink', 1)
        if not sent:
            raise self.broken('pktgen sent nothing')

    def off(self):
        self.guest.power_off()
        if self.guest.errors_tail:
            raise self.guest.broken(f'{self.title}: QEMU complained')
        if not self.log_lock:
            self.log.unlink()       # nobody would ever overwrite this one
