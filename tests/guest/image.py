# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs of the test guest: busybox, a few modules, and our init.

It is written here as a cpio archive ("newc"), byte for byte the same for the
same contents, so it needs neither root (for /dev/console) nor a cpio program,
and can be cached under the checksum of what goes in.
"""

import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(os.path.realpath(__file__)).parent

MODULES = ('virtio_net', 'virtio_blk', 'pktgen')

# More of them, for the stress test.
STRESS_MODULES = ('virtio_scsi', 'sd_mod', 'virtio_rng', 'virtio_balloon')


class ImageError(Exception):
    """The image cannot be built; the text says what to do."""


def cache_dir():
    """The folder of everything this project caches, as a Path."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(base) / 'qemu-inorder-svq'


def is_static(program):
    """Whether an ELF file asks for no interpreter, that is, runs alone."""
    with open(program, 'rb') as f:
        head = f.read(64)
        if head[:6] != b'\x7fELF\x02\x01':
            return False
        offset = int.from_bytes(head[32:40], 'little')
        size = int.from_bytes(head[54:56], 'little')
        count = int.from_bytes(head[56:58], 'little')
        f.seek(offset)
        table = f.read(size * count)
    PT_INTERP = 3
    return all(int.from_bytes(table[i * size:i * size + 4], 'little')
               != PT_INTERP for i in range(count))


def find_busybox():
    """The path of a statically linked busybox."""
    for where in ('/bin/busybox', '/usr/bin/busybox', shutil.which('busybox')):
        if where and os.access(where, os.X_OK) and is_static(where):
            return where
    raise ImageError('no statically linked busybox on this machine; '
                     'install the package busybox-static')


def read_module(path):
    """The contents of a module file, decompressed."""
    if path.name.endswith('.xz'):
        return lzma.decompress(path.read_bytes())
    if path.name.endswith('.zst'):
        return subprocess.run(['zstd', '-dc', str(path)], check=True,
                              stdout=subprocess.PIPE).stdout
    return path.read_bytes()


def collect_modules(kernel, names):
    """Read modules and all they depend on from an unpacked kernel.

    kernel: Path with modules/ in it.  Returns a list of (name, contents) in
    the order of loading.  The dependencies come from the modules themselves;
    packages hold no modules.dep, which depmod makes after installation.
    """
    files = {}
    for path in (kernel / 'modules').rglob('*.ko*'):
        name = path.name.split('.ko')[0].replace('-', '_')
        files[name] = path
    builtin = set()
    listing = kernel / 'modules' / 'modules.builtin'
    if listing.exists():
        builtin = {Path(line).stem.replace('-', '_')
                   for line in listing.read_text().split()}
    ordered = {}

    def add(name, chain):
        if name in ordered or name in builtin:
            return
        if name in chain or name not in files:
            raise ImageError(f'the kernel in {kernel} has no module {name}; '
                             'remove that folder and run again')
        contents = read_module(files[name])
        found = re.search(rb'\0depends=([^\0]*)\0', contents)
        for dep in found.group(1).decode().split(',') if found else ():
            if dep:
                add(dep.replace('-', '_'), chain + (name,))
        ordered[name] = contents

    for name in names:
        add(name, ())
    return list(ordered.items())


def build_worker():
    """Return the path of the stress worker's program, building it if needed.

    It is linked statically, so that it runs in the guest and here.
    """
    packets = HERE.parent / 'vdpa-sim'
    sources = sorted((HERE / 'worker').glob('*.[ch]')) + [
        packets / name for name in ('bytes.h', 'packet.c', 'packet.h')]
    command = [os.environ.get('CC', 'cc'), '-std=gnu11', '-O2', '-Wall',
               '-Werror', '-static', '-pthread']
    key = hashlib.sha256(' '.join(command).encode())
    for source in sources:
        key.update(hashlib.sha256(source.read_bytes()).digest())
    folder = cache_dir() / 'guest-image'
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f'worker-{key.hexdigest()[:16]}'
    if program.exists():
        os.utime(program)
        return program
    # Whole or not at all, also when two runs build it at once.
    fd, temporary = tempfile.mkstemp(dir=folder, prefix='tmp.')
    os.close(fd)
    try:
        subprocess.run([*command, '-o', temporary,
                        *(str(s) for s in sources if s.suffix == '.c')],
                       check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)
        os.chmod(temporary, 0o755)
        os.replace(temporary, program)
    except (OSError, subprocess.SubprocessError) as e:
        os.unlink(temporary)
        raise ImageError('the stress worker cannot be compiled; install '
                         'build-essential, or correct tests/guest/worker: '
                         f'{getattr(e, "output", None) or e}') from e
    return program


def with_libraries(name):
    """Return a program of this machine and what it loads.

    As a dictionary, from the place in the image to the path here.
    """
    program = shutil.which(name, path='/usr/sbin:/sbin:/usr/bin:/bin')
    if not program:
        raise ImageError(f'there is no {name} on this machine; install the '
                         f'package {name}')
    listed = subprocess.run(['ldd', program], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    found = {path.lstrip('/'): path
             for path in re.findall(r'(/\S+) \(0x', listed)}
    found[f'bin/{name}'] = program
    return found


class Cpio:
    """A cpio archive in the making, with everything owned by root."""

    def __init__(self):
        self.parts = []
        self.inode = 0

    def add(self, name, mode, data=b'', rdev=(0, 0)):
        """Add a file; mode holds the type bits too."""
        self.inode += 1
        raw = name.encode() + b'\0'
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0,
                  rdev[0], rdev[1], len(raw), 0)
        head = b'070701' + b''.join(b'%08X' % field for field in fields)
        for part in (head + raw, data):
            self.parts.append(part + b'\0' * (-len(part) % 4))

    def bytes(self):
        """The whole archive."""
        self.add('TRAILER!!!', 0)
        return b''.join(self.parts)


def build(kernel, init, worker=None):
    """Return the path of the initramfs for a kernel, building it if needed.

    kernel: Path as scripts/guest-kernel gives it.  init: Path of the guest's
    first program.  worker: Path of the stress worker; with it come the modules
    and programs that the stress test needs.
    """
    modules = MODULES
    programs = {'bin/busybox': find_busybox()}
    if worker:
        modules += STRESS_MODULES
        programs['bin/worker'] = worker
        programs.update(with_libraries('ethtool'))
    key = hashlib.sha256(' '.join(programs).encode())
    for item in (kernel / 'packages', kernel / 'release', init,
                 Path(__file__), *map(Path, programs.values())):
        if item.exists():
            key.update(hashlib.sha256(item.read_bytes()).digest())
        key.update(b'|')
    key.update(str(kernel.resolve()).encode())
    folder = cache_dir() / 'guest-image'
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / f'initramfs-{key.hexdigest()[:16]}.cpio'
    if image.exists():
        os.utime(image)
        return image

    cpio = Cpio()
    folders = {str(parent) for name in programs
               for parent in Path(name).parents} - {'.'}
    for name in sorted(folders | {'dev', 'modules'}):
        cpio.add(name, stat.S_IFDIR | 0o755)
    cpio.add('dev/console', stat.S_IFCHR | 0o600, rdev=(5, 1))
    for name, path in programs.items():
        cpio.add(name, stat.S_IFREG | 0o755, Path(path).read_bytes())
    cpio.add('init', stat.S_IFREG | 0o755, init.read_bytes())
    order = collect_modules(kernel, modules)
    for name, contents in order:
        cpio.add(f'modules/{name}.ko', stat.S_IFREG | 0o644, contents)
    cpio.add('modules/order', stat.S_IFREG | 0o644,
             ''.join(f'{name}\n' for name, _ in order).encode())

    # Whole or not at all, also when two runs build it at once.
    fd, temporary = tempfile.mkstemp(dir=folder, prefix='tmp.')
    try:
        with open(fd, 'wb') as f:
            f.write(cpio.bytes())
        os.replace(temporary, image)
    except BaseException:
        os.unlink(temporary)
        raise
    # Images of other kernels and inits are cheap to make again.
    for old in folder.iterdir():
        try:
            if old != image and old.stat().st_mtime < time.time() - 86400:
                old.unlink()
        except OSError:
            pass
    return image
