"""A program has no effect on the host: files, network, processes, signals, memory, other submissions."""

import threading
import time

import pytest

FILES = {
    "read": "open(CANARY).read()",
    "read by system call": "system_call('openat', -100, CANARY.encode(), 0, 0)",
    "read by openat2": "system_call('openat2', -100, CANARY.encode(), bytes(24), 24)",
    "write": "open(CANARY, 'a').write('x')",
    "write by libc": "libc_call('open', CANARY.encode(), os.O_WRONLY)",
    "make": "open(FOLDER + '/made', 'w')",
    "make an unnamed file": "os.open(FOLDER, os.O_TMPFILE | os.O_RDWR)",
    "make a folder": "os.mkdir(FOLDER + '/made')",
    "make in /tmp": "open('/tmp/rlreason-made', 'x')",
    "make in /dev/shm": "open('/dev/shm/rlreason-made', 'x')",
    "make in the current folder": "open('made', 'x')",
    "make a fifo": "os.mkfifo(FOLDER + '/made')",
    "make a device": "os.mknod(FOLDER + '/made', 0o600)",
    "delete": "os.unlink(CANARY)",
    "rmtree": "import shutil\nshutil.rmtree(FOLDER)",
    "rename": "os.rename(CANARY, CANARY + '2')",
    "truncate": "os.truncate(CANARY, 0)",
    "chmod": "os.chmod(CANARY, 0o600)",
    "chmod by fchmodat2": "system_call('fchmodat2', -100, CANARY.encode(), 0o600, 0)",
    "fchmod of a path descriptor": "os.fchmod(os.open(CANARY, os.O_PATH), 0o600)",
    "chown": "os.chown(CANARY, os.getuid(), -1)",
    "utime": "os.utime(CANARY)",
    "utimensat by system call": "system_call('utimensat', -100, CANARY.encode(), None, 0)",
    "extended attribute": "os.setxattr(CANARY, 'user.x', b'1')",
    "symbolic link": "os.symlink('/etc/passwd', FOLDER + '/link')",
    "hard link": "os.link(CANARY, FOLDER + '/link')",
    "list a folder": "os.listdir(FOLDER)",
    "list /": "os.listdir('/home')",
    "poison sys.path": "open(sys.path[-1] + '/sitecustomize.py', 'w')",
    "poison a module": "open(os.__file__, 'a')",
    "flags of a module's file": "import fcntl\nfcntl.ioctl(os.open(os.__file__, 0), 0x40086602, bytes(8))",
    "passwords": "open('/etc/passwd').read()",
    "watch a folder": "libc_call('inotify_add_watch', libc_call('inotify_init'), FOLDER.encode(), 0xFFF)",
    "leave the root": "os.chroot('/')",
    "own environment": "open('/proc/self/environ').read()",
    "environment of the parent": "open(f'/proc/{PARENT}/environ').read()",
    "arguments of the parent": "open(f'/proc/{PARENT}/cmdline').read()",
    "memory of the parent": "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    "root of the parent": "os.listdir(f'/proc/{PARENT}/root')",
    "files of the parent": "os.listdir(f'/proc/{os.getppid()}/fd')",
    "list of processes": "os.listdir('/proc')",
    "one big file": "open(FOLDER + '/big', 'wb').write(bytes(10 << 20))",
    "big file in memory": "os.ftruncate(os.memfd_create('x'), 1 << 20)",
    "many small files": "[open(f'{FOLDER}/{i}', 'w') for i in range(100)]",
    "temporary file": "import tempfile\ntempfile.NamedTemporaryFile()",
}
NETWORK = {
    "TCP": "socket.create_connection(('127.0.0.1', PORT))",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "listen": "socket.create_server(('127.0.0.1', 0))",
    "unix stream": "socket.socket(socket.AF_UNIX).connect(UNIX)",
    "unix datagram": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', UNIX_DATAGRAM)",
    "datagram from a pair": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', UNIX_DATAGRAM)",
    "raw from a pair": "socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)[0].sendto(b'x', UNIX_DATAGRAM)",
    "stream from a pair": "socket.socketpair()[0].sendto(b'x', UNIX)",
    "packet from a pair": (
        "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\na.sendto(b'x', UNIX_DATAGRAM)\n"
        "if b.recv(1, socket.MSG_DONTWAIT) == b'x': raise OSError('the name is not looked at')"
    ),
    "abstract": "socket.socket(socket.AF_UNIX).connect(ABSTRACT)",
    "urllib": "import urllib.request\nurllib.request.urlopen(f'http://127.0.0.1:{PORT}')",
    "name service": "socket.getaddrinfo('example.com', 80)",
    "io_uring": "system_call('io_uring_setup', 1, bytes(120))",
}
PROCESSES = {
    "fork": "os.fork() or os._exit(0)",
    "vfork": "libc_call('vfork')",
    "forkpty": "os.forkpty()",
    "raw clone": "system_call('clone', 17, 0, 0, 0, 0) or os._exit(0)",
    "raw clone3": "system_call('clone3', bytes(88), 88) or os._exit(0)",
    "posix_spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "execv": "os.execv('/bin/echo', ['echo', 'breach'])",
    "fexecve": "os.execve(os.open('/usr/lib', os.O_PATH), ['x'], {})",
    "subprocess": "import subprocess\nsubprocess.run(['true'])",
    "system": "if os.system('true') != 0: raise OSError('refused')",
    "popen": "os.popen('echo breach').read()",
    "multiprocessing": "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    "process pool": (
        "import concurrent.futures\n"
        "with concurrent.futures.ProcessPoolExecutor(1) as pool: pool.submit(abs, 1).result()"
    ),
    "daemon": "os.fork() and os._exit(0)\nos.setsid()\ntime.sleep(60)",
    "new session": "os.setsid()",
    "process group": "os.setpgid(0, 0)",
    "user namespace": "libc_call('unshare', 0x10000000)",
    "mount namespace": "libc_call('unshare', 0x20000)",
    "mount": "libc_call('mount', b'none', b'/mnt', b'tmpfs', 0, None)",
    "setuid": "os.setuid(1)",
    "setgroups": "os.setgroups([0])",
    "kill the parent": "os.kill(os.getppid() or 1, signal.SIGKILL)",
    "kill the trainer": "os.kill(PARENT, signal.SIGTERM)",
    "stop the parent": "os.kill(os.getppid() or 1, signal.SIGSTOP)",
    "kill all": "os.kill(-1, signal.SIGKILL)",
    "kill the group": "os.killpg(0, signal.SIGKILL)",
    "kill a thread of the parent": "system_call('tgkill', PARENT, PARENT, 9)",
    "kill by tkill": "system_call('tkill', PARENT, 9)",
    "kill by descriptor": "signal.pidfd_send_signal(os.pidfd_open(PARENT), 9)",
    "queue a signal": "system_call('rt_sigqueueinfo', PARENT, 10, bytes(128))",
    "signal by an owned pipe": (
        "import fcntl\nr, w = os.pipe()\nfcntl.fcntl(r, 10, signal.SIGKILL)\nfcntl.fcntl(r, 8, PARENT)\n"
        "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\nos.write(w, b'x')"
    ),
    "signal by ioctl": "import fcntl\nfcntl.ioctl(socket.socketpair()[0], 0x8901, PARENT.to_bytes(4, 'little'))",
    "outlive the parent": "libc_call('prctl', 1, 0, 0, 0, 0)",
    "be traceable": "libc_call('prctl', 4, 1, 0, 0, 0)",
    "trace the parent": "libc_call('ptrace', 16, os.getppid() or 1, 0, 0)",
    "read the parent's memory": "system_call('process_vm_readv', os.getppid() or 1, bytes(16), 1, bytes(16), 1, 0)",
    "write the parent's memory": "system_call('process_vm_writev', os.getppid() or 1, bytes(16), 1, bytes(16), 1, 0)",
    "take the parent's descriptor": "system_call('pidfd_getfd', 3, 0, 0)",
    "limits of the parent": "import resource\nresource.prlimit(os.getppid() or 1, resource.RLIMIT_NOFILE, (3, 3))",
    "limits of the trainer": "import resource\nresource.prlimit(PARENT, resource.RLIMIT_CORE, (1, 1))",
    "processors of the trainer": "os.sched_setaffinity(PARENT, [0])",
    "schedule of the trainer": "os.sched_setscheduler(PARENT, os.SCHED_IDLE, os.sched_param(0))",
    "priority of the trainer": "os.setpriority(os.PRIO_PROCESS, PARENT, 19)",
    "own priority": "os.nice(-5)",
    "shared memory of the user": "system_call('shmat', 0, 0, 0)",
    "keys": "system_call('keyctl', 0, -3, 0)",
    "bpf": "system_call('bpf', 0, bytes(64), 64)",
    "more memory": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "more files": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))",
    "larger files": "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))",
}
DENIED = "denied(lambda: {})"
"""An act that would fail on this target anyway: the filter must be what refuses it."""
LEAKS = {
    "mount table": DENIED.format("system_call('listmount', bytes(32), 0, 0, 0)"),
    "one mount": DENIED.format("system_call('statmount', bytes(32), 0, 0, 0)"),
    "where a link leads": DENIED.format("os.readlink(FOLDER + '/link')"),
    "where a link leads, by readlinkat": DENIED.format("system_call('readlinkat', -100, b'/bin', bytes(9), 9)"),
    "extended attribute": DENIED.format("os.getxattr(CANARY, 'user.x')"),
    "extended attributes": DENIED.format("os.listxattr(CANARY)"),
    "host name": DENIED.format("libc_call('uname', ctypes.create_string_buffer(512))"),
    "host name by gethostname": "socket.gethostname()",
    "process groups": DENIED.format("os.getpgid(os.getppid() or 1)"),
    "process group of the trainer": DENIED.format("os.getpgid(PARENT)"),
    "sessions": DENIED.format("os.getsid(os.getppid() or 1)"),
    "priorities": DENIED.format("os.getpriority(os.PRIO_PROCESS, os.getppid() or 1)"),
    "processors": DENIED.format("os.sched_getaffinity(os.getppid() or 1)"),
    "schedules": DENIED.format("os.sched_getscheduler(os.getppid() or 1)"),
    "pair of another family": DENIED.format("socket.socketpair(socket.AF_INET)"),
    "pair of netlink": DENIED.format("socket.socketpair(socket.AF_NETLINK)"),
    "pair of packets": DENIED.format("socket.socketpair(socket.AF_PACKET)"),
    "pair of a virtual machine's": DENIED.format("socket.socketpair(socket.AF_VSOCK)"),
    "wait for the disks": "system_call('sync')",
    "wait for one disk": DENIED.format("system_call('syncfs', 0)"),
    "timers": "system_call('timer_create', 0, None, ctypes.create_string_buffer(8))",
    "a ruleset": "system_call('landlock_create_ruleset', (1).to_bytes(8, 'little'), 8, 0)",
    "a filter": DENIED.format("system_call('seccomp', 1, 0, None)"),
    "a filter by prctl": DENIED.format("libc_call('prctl', 22, 2, None, 0, 0)"),
}
# What a thread needs, with and without the table of descriptors in common with the others.
THREAD = 0x50F00
MEMORY = {
    "larger buffers of a socket": "socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)",
    "larger pipe": "import fcntl\nfcntl.fcntl(os.pipe()[1], 1031, 1 << 20)",
    "descriptors of a thread": DENIED.format(f"system_call('clone', {THREAD & ~0x400}, None, 0, 0, 0)"),
    "descriptors of a thread, later": DENIED.format("system_call('close_range', 900, 901, 2)"),
    "file in memory, not grown": "libc_call('fallocate', os.memfd_create('x'), 1, 0, ctypes.c_long(1 << 30))",
    "stack": "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (1 << 30, -1))",
    "queued signals": "import resource\nresource.setrlimit(resource.RLIMIT_SIGPENDING, (4096, 4096))",
    "bytearray": "bytearray(1 << 30)",
    "list": "[0] * (1 << 28)",
    "string": "'x' * (1 << 30)",
    "growing list": "found = []\nwhile True: found.append(bytes(1 << 20))",
    "mmap": "mmap.mmap(-1, 1 << 30)",
    "mmap without reserve": "mmap.mmap(-1, 1 << 32, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)",
    "file in memory": "fd = os.memfd_create('x')\nos.posix_fallocate(fd, 0, 1 << 30)",
    "file in memory by write": "os.write(os.memfd_create('x'), b'x' * 4096)",
    "stdin grown": "os.posix_fallocate(0, 0, 1 << 30)",
    "thread stacks": (
        "threading.stack_size(64 << 20)\ntry:\n"
        "    for _ in range(16): threading.Thread(target=time.sleep, args=(9,)).start()\n"
        "except RuntimeError: print('refused', flush=True); os._exit(0)"
    ),
}


def _cases(*tables: dict[str, str]) -> list[object]:
    return [pytest.param(body, id=name) for table in tables for name, body in table.items()]


@pytest.mark.parametrize("body", _cases(FILES, NETWORK))
def test_no_file_and_no_network_is_reached(arena, body: str) -> None:
    arena.attempt(body)


@pytest.mark.parametrize("body", _cases(PROCESSES))
def test_no_process_is_made_or_touched(arena, body: str) -> None:
    arena.attempt(body)


@pytest.mark.parametrize("body", _cases(LEAKS))
def test_nothing_of_the_host_is_told(arena, body: str) -> None:
    arena.attempt(body)


@pytest.mark.parametrize("body", _cases(MEMORY))
def test_no_more_memory_is_taken_than_allowed(arena, body: str) -> None:
    arena.attempt(body, memory_bytes=256 << 20)


def test_what_still_runs_would_be_seen(arena) -> None:
    running = threading.Thread(target=arena.sandbox.script, args=(b"import time\ntime.sleep(0.5)", b""))
    running.start()
    deadline = time.monotonic() + 5
    while not arena.leftovers() and time.monotonic() < deadline:
        time.sleep(0.02)
    seen = arena.leftovers()
    running.join()
    assert seen
