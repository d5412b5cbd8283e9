# SPDX-License-Identifier: GPL-2.0-or-later
"""What every program that boots test guests needs to begin: QEMU, its
firmware, a kernel, the image, the accelerator, a log, and the options for
them.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import image
from vm import Guest, GuestError

HERE = Path(os.path.realpath(__file__)).parent
ROOT = HERE.parent.parent
LOGS = ROOT / 'build' / 'log'

BOOT_TIMEOUT = {'tcg': 90, 'kvm': 30}
KVM_PROBE_TIMEOUT = 5


class UsageError(Exception):
    """The run cannot start; the text says what to do."""


class NoKernel(UsageError):
    """There is no kernel to boot and none could be fetched."""


class Setup:
    """What all boots of this run share."""

    def __init__(self, args, stress=False):
        """Find or make everything; args: as add_arguments() parsed them.

        stress: whether the image is to have what the stress test needs.
        """
        self.qemu = Path(args.qemu)
        if not os.access(self.qemu, os.X_OK) or self.qemu.is_dir():
            raise UsageError(f'{self.qemu} is no program; run make first, or '
                             'name another with --qemu')
        self.qemu = str(self.qemu.absolute())
        self.version = self.ask('--version').split('\n')[0]
        self.has_in_order = 'in_order=' in self.ask(
            '-device', 'virtio-net-pci,help')
        self.firmware = self.find_firmware()
        self.kernel = Path(args.kernel or self.get_kernel()).absolute()
        if not (self.kernel / 'vmlinuz').exists():
            raise UsageError(f'{self.kernel} holds no vmlinuz; give --kernel '
                             'a folder as scripts/guest-kernel prints it')
        self.worker = image.build_worker() if stress else None
        self.initrd = image.build(self.kernel, HERE / 'init', self.worker)
        self.append = args.append
        self.accel = args.accel
        if self.accel == 'auto':
            self.accel = 'kvm' if self.kvm_works() else 'tcg'

    def ask(self, *options):
        """What QEMU prints for options that make it end at once."""
        try:
            return subprocess.run([self.qemu, *options], check=True,
                                  timeout=30, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True).stdout
        except (OSError, subprocess.SubprocessError) as e:
            said = getattr(e, 'output', None) or str(e)
            raise UsageError(f'{self.qemu} {" ".join(options)} fails: '
                             f'{said.strip()}') from e

    def find_firmware(self):
        """Options that show QEMU its firmware, if it needs showing."""
        needed = {'bios-256k.bin': 'seabios',
                  'linuxboot_dma.bin': 'qemu-system-data'}
        known = self.ask('-L', 'help').split()
        options = []
        for name, package in needed.items():
            if any(os.path.exists(f'{where}/{name}') for where in known):
                continue
            for where in ('/usr/share/qemu', '/usr/share/seabios'):
                if os.path.exists(f'{where}/{name}'):
                    options += ['-L', where]
                    break
            else:
                raise UsageError(f'the firmware file {name} is nowhere; '
                                 f'install the package {package}')
        return options

    @staticmethod
    def get_kernel():
        done = subprocess.run([ROOT / 'scripts' / 'guest-kernel'],
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode == 3:
            raise NoKernel('no guest kernel in the cache and none could be '
                           'fetched; scripts/guest-kernel says why')
        if done.returncode:
            raise UsageError('scripts/guest-kernel failed, see above')
        return done.stdout.strip()

    def machine(self, accel, memory=512):
        """The command for a guest without any device; memory: MiB."""
        return [self.qemu, *self.firmware, '-nodefaults', '-no-user-config',
                '-display', 'none', '-no-reboot', '-M', 'q35',
                '-accel', 'kvm' if accel == 'kvm' else 'tcg,thread=multi',
                '-cpu', 'host' if accel == 'kvm' else 'max', '-m', str(memory),
                '-kernel', str(self.kernel / 'vmlinuz'),
                '-initrd', str(self.initrd), '-append',
                'console=ttyS0 quiet loglevel=5 panic=-1 oops=panic '
                'ipv6.disable=1 ' + self.append]

    def kvm_works(self):
        """Whether KVM boots this guest here; tried once for each host boot.

        That /dev/kvm opens proves nothing: some hypervisors offer one that
        runs no ordinary kernel.
        """
        if not os.access('/dev/kvm', os.R_OK | os.W_OK):
            return False
        host = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        known = image.cache_dir() / 'guest-image' / 'kvm'
        with contextlib.suppress(OSError, ValueError):
            found_host, works = known.read_text().split()
            if found_host == host:
                return works == 'works'
        LOGS.mkdir(parents=True, exist_ok=True)
        log = LOGS / f'guest-kvm-probe.{os.getpid()}.log'
        try:
            with Guest(self.machine('kvm'), log, KVM_PROBE_TIMEOUT) as guest:
                guest.wait_boot()
                guest.power_off()
            works = 'works'
        except GuestError:
            works = 'fails'
        final = LOGS / 'guest-kvm-probe.log'
        log.replace(final)
        if works == 'fails':
            note(f'KVM does not boot a guest here, using TCG (log: {final})')
        temporary = known.with_name(f'tmp.kvm.{os.getpid()}')
        temporary.write_text(f'{host} {works}\n')
        temporary.replace(known)
        return works == 'works'


def open_log(name):
    """Return a path for a log that no other run is writing to, and its lock.

    The lock, to be closed afterwards, is None if another run has the log of
    that name; the path is then one that nobody would ever overwrite.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    lock = open(LOGS / f'{name}.log', 'a', encoding='utf-8')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return LOGS / f'{name}.log', lock
    except OSError:
        lock.close()
        return LOGS / f'{name}.{os.getpid()}.log', None


def note(text):
    print(f'guest: {text}', file=sys.stderr, flush=True)


def add_arguments(parser):
    """Add the options that Setup reads."""
    parser.add_argument('--qemu', default=str(
        ROOT / 'build' / 'qemu-system-x86_64'), metavar='PATH',
        help='the QEMU to run (default: build/qemu-system-x86_64)')
    parser.add_argument('--check', action='store_true',
                        help='print TAP, for make check')
    parser.add_argument('--accel', choices=('auto', 'tcg', 'kvm'),
                        default='auto', help='auto: KVM where it boots a '
                        'guest, TCG otherwise (default)')
    parser.add_argument('--kernel', metavar='DIR', help='an unpacked kernel '
                        '(default: what scripts/guest-kernel prints)')
    parser.add_argument('--append', default='', metavar='WORDS',
                        help='more words for the kernel\'s command line')


def run_parts(subject, parts, check, hint):
    """Do one part after the other, up to the first that fails.

    parts: pairs of a method's name and what its success proves.  check: whether
    to print a line of TAP for each, and hint after one that failed; an exception
    ends it otherwise.  Returns what failed, or None.
    """
    failure = None
    for number, (part, proof) in enumerate(parts, 1):
        if failure:
            print(f'not ok {number} - {proof}\n# not reached', flush=True)
            continue
        try:
            getattr(subject, part)()
            if check:
                print(f'ok {number} - {proof}', flush=True)
        except GuestError as e:
            failure = str(e)
            if not check:
                raise
            print(f'not ok {number} - {proof}')
            for line in failure.split('\n') + [hint]:
                print(f'# {line}', flush=True)
    return failure


def run_guarded(check, function):
    """Return the exit status of function(); say what ended it otherwise.

    check: whether the output is TAP.
    """
    # As an exception it ends the guests on its way out, like Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return function()
    except NoKernel as e:
        if check:
            print(f'1..0 # SKIP {e}')
            return 0
        note(e)
    except (UsageError, GuestError, image.ImageError) as e:
        if check:
            print(f'Bail out! {e}')
        note(e)
    except KeyboardInterrupt:
        if check:
            print('Bail out! interrupted')
        note('interrupted, the guest was ended')
        return 130
    return 1
