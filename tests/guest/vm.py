# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU with the test guest in it: process, console, steps, and QMP.

All channels are socket pairs whose far ends QEMU inherits, so nothing is left
in the file system, any number can run at once, and QEMU ends with its channel.
"""

import ctypes
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time

# What the kernel prints when it is beyond doubt that something broke.
TROUBLE = re.compile(
    r'Kernel panic|\bOops\b|\bBUG:|general protection fault|soft lockup|'
    r'rcu: INFO: .*stall|blocked for more than|NETDEV WATCHDOG|'
    r'TX timeout on queue|virtio.*(out of range|is not a head)|'
    r'I/O error|Buffer I/O|WARNING: ')

# What QEMU remarks about the sink, whose hub nobody listens to.
EXPECTED = re.compile(r'warning: (hub|netdev hub)')

QMP_TIMEOUT = 30                    # seconds

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class GuestError(Exception):
    """The guest or its QEMU went wrong; the text is for the user."""


def die_with_parent():
    """In the child: end when the script is killed, however that happens."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Guest:
    """A running guest.  Use it in a with statement, which ends it."""

    def __init__(self, command, log, boot_timeout, fds=(), before=None):
        """Start QEMU.

        command: list, without the options for console, steps and monitor,
        which are added here.  log: Path of the file that gets the command,
        the console, each step and each reply.  boot_timeout: seconds until
        init must answer.  fds: more file descriptors for QEMU to inherit.
        before: the Guest that migrates to this one, whose log it goes on with.
        """
        self.log_path = log
        self.started = before.started if before else time.monotonic()
        self.boot_timeout = boot_timeout
        self.replies = queue.Queue()
        self.console_tail = []
        self.trouble = None         # the first line of the kind above
        self.errors_tail = []
        self.lock = threading.Lock()
        self.qmp_lock = threading.Lock()
        self.on_work = lambda words: None
        self.excuse = None          # what is no trouble here: a pattern
        self.quitting = False
        self.sockets = []
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = open(log, 'a' if before else 'w', encoding='utf-8',
                        errors='replace')

        far = []
        channels = []
        for name in ('console', 'steps', 'qmp'):
            near_end, far_end = socket.socketpair()
            self.sockets.append(near_end)
            far.append(far_end)
            channels += ['-chardev',
                         f'socket,id={name},fd={far_end.fileno()}']
        self.console, self.steps, self.qmp_socket = self.sockets
        channels += ['-serial', 'chardev:console', '-serial', 'chardev:steps',
                     '-mon', 'chardev=qmp,mode=control']
        command = command + channels
        self.write_log('command', ' '.join(command))
        try:
            # A session of its own: Ctrl-C is for the script, which then
            # ends QEMU and says so.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[s.fileno() for s in far] + list(fds),
                start_new_session=True, preexec_fn=die_with_parent)
        except OSError as e:
            self.log.close()
            raise GuestError(f'cannot start {command[0]}: {e}') from e
        finally:
            for s in far:
                s.close()
        self.threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self.read_console, self.read_steps,
                           self.read_errors)]
        for thread in self.threads:
            thread.start()
        self.qmp_file = self.qmp_socket.makefile('r', encoding='utf-8')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.quitting = True
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join(timeout=5)
        self.qmp_file.close()
        self.process.stdout.close()
        for s in self.sockets:
            s.close()
        with self.lock:
            self.log.close()

    def write_log(self, source, text):
        """One line of the log: seconds since the start, source, text."""
        with self.lock:
            if not self.log.closed:
                self.log.write(f'{time.monotonic() - self.started:8.3f} '
                               f'{source:>8}  {text}\n')
                self.log.flush()

    @staticmethod
    def lines(stream):
        """Lines of a socket or file until it ends, printable."""
        pending = b''
        while True:
            try:
                data = (stream.recv(65536) if isinstance(stream, socket.socket)
                        else os.read(stream.fileno(), 65536))
            except OSError:
                data = b''
            pending += data
            *whole, pending = re.split(rb'\r*\n', pending)
            if not data and pending:
                whole, pending = [pending], b''
            for line in whole:
                text = line.decode('utf-8', 'replace')
                text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]|\x1bc', '', text)
                yield ''.join(c for c in text if c.isprintable() or c == '\t')
            if not data:
                return

    def read_console(self):
        for line in self.lines(self.console):
            self.write_log('console', line)
            if line.strip():
                self.console_tail = (self.console_tail + [line])[-40:]
            if not self.trouble and TROUBLE.search(line) and \
                    not (self.excuse and self.excuse.search(line)):
                self.trouble = line.strip()
                self.replies.put(('trouble', ''))

    def read_steps(self):
        for line in self.lines(self.steps):
            # What goes on besides the steps; it may be cut off where a
            # migrated guest went on.
            if line.startswith('work count '):
                self.on_work(line.split()[1:])
                continue
            self.write_log('reply', line)
            if line.startswith('work '):
                self.on_work(line.split()[1:])
            else:
                self.replies.put(('line', line))
        self.replies.put(('end', ''))

    def read_errors(self):
        for line in self.lines(self.process.stdout):
            self.write_log('qemu', line)
            if not EXPECTED.search(line):
                self.errors_tail = (self.errors_tail + [line])[-20:]

    def broken(self, what):
        """A GuestError with what the console and QEMU said last."""
        # What explains a trouble comes right after its first line.
        time.sleep(0.3)
        tail = self.console_tail
        first = next((i for i, line in enumerate(tail)
                      if line.strip() == self.trouble), len(tail))
        tail = tail[max(0, min(first - 2, len(tail) - 12)):][:12]
        text = [what]
        if self.errors_tail:
            text += ['  QEMU said:'] + ['    ' + s for s in self.errors_tail]
        if tail:
            text += ['  on its console:'] + ['    ' + s for s in tail]
        text.append(f'  the whole log: {self.log_path}')
        return GuestError('\n'.join(text))

    def collect(self, what, timeout):
        """Wait for ok or fail; return the lines between as a list of words.

        what: for messages.  timeout: seconds.
        """
        result = []
        deadline = time.monotonic() + timeout
        while True:
            try:
                kind, text = self.replies.get(
                    timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise self.broken(f'{what}: no answer from the guest for '
                                  f'{timeout:.0f} s, it hangs') from None
            if kind == 'trouble':
                raise self.broken(f'{what}: the guest\'s kernel reported: '
                                  f'{self.trouble}')
            if kind == 'end':
                try:
                    status = self.process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    status = 'unknown'
                # A panic ends QEMU too; say which of both it was.
                self.threads[0].join(timeout=5)
                if self.trouble:
                    raise self.broken(f'{what}: the guest\'s kernel '
                                      f'reported: {self.trouble}')
                raise self.broken(f'{what}: QEMU ended (status {status})')
            words = text.split()
            if words[:1] == ['ok']:
                return result
            if words[:1] == ['fail']:
                raise self.broken(f'{what}: the guest reported: '
                                  f'{" ".join(words[1:])}')
            if words:
                result.append(words)

    def wait_boot(self):
        """Wait for init; return the release of the running kernel."""
        answer = dict(line[:2] for line in
                      self.collect('boot', self.boot_timeout))
        return answer.get('kernel', 'unknown')

    def step(self, line, timeout=60):
        """Have the guest do one step; return the lines of its answer."""
        self.write_log('step', line)
        self.steps.sendall(line.encode() + b'\n')
        return self.collect(line.split()[0], timeout)

    def values(self, line, timeout=60):
        """The same for a step that answers with a name and a value a line."""
        return {words[0]: ' '.join(words[1:])
                for words in self.step(line, timeout)}

    def power_off(self, timeout=20):
        """Have the guest turn itself off, and QEMU end with success."""
        self.write_log('step', 'off')
        self.steps.sendall(b'off\n')
        self.wait_end('power-off', timeout)

    def wait_end(self, what, timeout=20):
        """Wait until QEMU ends, with success."""
        try:
            status = self.process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise self.broken(f'{what}: QEMU still runs after {timeout} '
                              's') from None
        if status != 0:
            raise self.broken(f'{what}: QEMU ended with status {status}')
        for thread in self.threads:
            thread.join(timeout=5)
        if self.trouble:
            raise self.broken(f'{what}: the guest\'s kernel reported: '
                              f'{self.trouble}')

    def qmp(self, execute, exact=None, **arguments):
        """Run one monitor command; return what it returns.

        Members with _ in their name here have - in QMP, but for those in the
        dictionary exact.  Any thread may call this.
        """
        answer = self.qmp_raw(execute, exact, **arguments)
        if 'error' in answer:
            raise self.broken(f'QMP {execute}: {answer["error"]["desc"]}')
        return answer['return']

    def qmp_raw(self, execute, exact=None, **arguments):
        """The same, but return the answer, which may be an error's."""
        with self.qmp_lock:
            if not hasattr(self, 'qmp_ready'):
                self.qmp_ready = True
                self.qmp_socket.settimeout(QMP_TIMEOUT)
                self.qmp_answer('greeting', 'QMP')
                self.qmp_socket.sendall(b'{"execute":"qmp_capabilities"}')
                self.qmp_answer('qmp_capabilities', 'return')
            request = {'execute': execute, 'arguments': dict(exact or {})}
            for name, value in arguments.items():
                request['arguments'][name.replace('_', '-')] = value
            try:
                self.qmp_socket.sendall(json.dumps(request).encode())
            except OSError as e:
                raise self.broken(f'QMP {execute}: {e}') from e
            return self.qmp_answer(execute, 'return')

    def qmp_answer(self, what, member):
        """The next answer that is no event."""
        while True:
            try:
                line = self.qmp_file.readline()
            except OSError as e:
                raise self.broken(f'QMP {what}: no answer ({e})') from e
            if not line:
                raise self.broken(f'QMP {what}: QEMU closed the monitor')
            answer = json.loads(line)
            if 'error' in answer or member in answer:
                return answer

    def migrate(self, target, uri, timeout=60):
        """Go on in target, a Guest that was started with -incoming uri.

        Returns what query-migrate says in the end.
        """
        # It listens when its monitor answers.
        target.qmp('query-status')
        self.qmp('migrate-set-parameters', max_bandwidth=1 << 34,
                 downtime_limit=2000)
        self.qmp('migrate', uri=uri)
        deadline = time.monotonic() + timeout
        while True:
            status = self.qmp('query-migrate')
            if status.get('status') == 'completed':
                break
            if status.get('status') == 'failed' or \
                    target.process.poll() is not None or \
                    time.monotonic() > deadline:
                time.sleep(0.5)
                said = ''.join(f'\n    {line}' for line in target.errors_tail)
                raise self.broken(f'migration: {status}; the target said: '
                                  f'{said or "nothing"}')
            time.sleep(0.05)
        while target.qmp('query-status')['status'] != 'running':
            if time.monotonic() > deadline:
                raise self.broken('migration: the target does not run: '
                                  f'{target.qmp("query-status")}')
            time.sleep(0.02)
        return status

    def virtio_paths(self):
        """ID of each virtio device that has one -> its QOM path."""
        return {entry['path'].split('/')[3]: entry['path']
                for entry in self.qmp('x-query-virtio')
                if entry['path'].startswith('/machine/peripheral/')}

    def virtio_queues(self, path):
        """The numbers of a device's queues that the driver set up, each with
        what x-query-virtio-queue-status returns for it."""
        count = self.qmp('x-query-virtio-status', path=path)['num-vqs']
        found = {}
        for number in range(count):
            answer = self.qmp_raw('x-query-virtio-queue-status', path=path,
                                  queue=number)
            if answer.get('return', {}).get('vring-desc'):
                found[number] = answer['return']
        return found

    def log_queues(self):
        """Leave the state of all queues in the log, for who looks into it.

        Returns a line of text for each queue that has buffers in use which
        wait for another, or for the device.
        """
        waiting = []
        for name, path in self.virtio_paths().items():
            for number, state in self.virtio_queues(path).items():
                self.write_log('qmp', f'{name}: {state}')
                if state.get('held-back') or state['inuse']:
                    waiting.append(
                        f'{name} queue {number}: {state["inuse"]} in use, '
                        f'{state.get("held-back", 0)} of them done and held '
                        f'back, {state.get("published-buffers")} returned')
        return waiting
