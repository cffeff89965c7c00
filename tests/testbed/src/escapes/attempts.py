"""What a tenant of ill will might try, one function each: `python3 - NAME WORLD < attempts.py`.

A function that returns has done what it should not be able to do, and says what. One that raises was refused. `Lacks`
says that this kernel has no such thing, so that a refusal proves nothing. The last line of output is the outcome.
One file, however long, since it goes into a tenant by standard input.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PATIENCE_SECS = 3
# The kernel's netfilter keeps an answered question for 30 seconds.
REMEMBERED_SECS = 25
X86 = os.uname().machine == "x86_64"


class Lacks(Exception):
    pass


class Refused(Exception):
    pass


def syscall(number, *arguments):
    """Numbers are those of x86-64."""
    if not X86:
        raise Lacks("system calls are tried by the numbers of x86-64")
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    ctypes.set_errno(0)
    got = LIBC.syscall(ctypes.c_long(number), *plain)
    if got == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return got


def lacking(work, *codes):
    """Runs it; these error numbers mean that the kernel was built without it."""
    try:
        return work()
    except OSError as error:
        if error.errno in codes:
            raise Lacks(str(error)) from error
        raise


# ---- network

def reach(world, key):
    host, port = world[key].rsplit(":", 1)
    with socket.create_connection((host, int(port)), PATIENCE_SECS):
        return f"connected to {host} port {port}"


def reach_v6(world, key):
    host, port = world[key].rsplit("]:", 1)
    with socket.create_connection((host.lstrip("["), int(port)), PATIENCE_SECS):
        return f"connected to {host} port {port}"


def ask(world, key):
    """A datagram, and an answer to it."""
    host, port = world[key].rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.settimeout(PATIENCE_SECS)
        here.connect((host, int(port)))
        here.send(query("data-in-a-name.example.org"))
        return f"{len(here.recv(2048))} bytes came back from {host}"


def tell(world, key):
    """A datagram to many: what counts is that it leaves."""
    host, port = world[key].rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.sendto(b"M-SEARCH * HTTP/1.1\r\n\r\n", (host, int(port)))
    return f"sent to {host}"


def query(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, 16, 1)


def proxied(world, target):
    """What the proxy says to a request for this address; refused is 403."""
    with socket.create_connection(("127.0.0.1", world["proxy-port"]), PATIENCE_SECS) as proxy:
        proxy.settimeout(20)
        if target.startswith("CONNECT "):
            proxy.sendall(f"{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        else:
            target = world.get(target, target)
            proxy.sendall(f"GET http://{target}/ HTTP/1.0\r\nHost: {target}\r\n\r\n".encode())
        said = proxy.recv(512).split(b"\r\n", 1)[0].decode(errors="replace")
    if " 403 " in said:
        raise Refused(said)
    return said


def ride(world, name):
    """From every port to whom the proxy's question for this name went: its own is one of them, and free by now."""
    if not world["asked"]:
        raise Lacks("a name server that is asked from within this network")
    host, port = world["asked"].rsplit(":", 1)
    said = proxied(world, name)
    refused, until = 0, time.monotonic() + REMEMBERED_SECS
    # From above: the kernel gives ports of the upper half.
    for own in range(65535, 1023, -1):
        if time.monotonic() > until:
            break
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            here.settimeout(1)
            try:
                here.bind(("", own))
                here.sendto(query("data-in-a-name.example.org"), (host, int(port)))
                return f"{len(here.recv(2048))} bytes came back from {host} to port {own}"
            except OSError:
                refused += 1
    raise Refused(f"from {refused} ports, after the proxy had said {said}")


def flood(world, _):
    """Connections without number: each is a line in the PC's table of connections."""
    host, port = world["public"].rsplit(":", 1)
    most, got, held = world["connections"] * 5 // 4, 0, []
    for number in range(most):
        if number % 4000 == 0:
            held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            held[-1].sendto(b"x", (host, 1 + number % 60000))
            got += 1
        except OSError:
            break
    if got <= world["connections"]:
        raise Refused(f"{got} connections, then no more")
    return f"{got} connections at once"


# ---- the fence itself

def netfilter(kind, flags, name):
    """One message to nf_tables inside a batch; raises what the kernel says."""
    def message(kind, flags, family, resource_id, body=b""):
        inner = struct.pack(">BBH", family, 0, resource_id) + body
        return struct.pack("<IHHII", 16 + len(inner), kind, flags, 1, 0) + inner

    attribute = name.encode() + b"\0"
    padded = attribute + b"\0" * (-len(attribute) % 4)
    body = struct.pack("<HH", 4 + len(attribute), 1) + padded
    packet = message(0x10, 1, 0, 10) + message(0xA00 + kind, flags, 1, 0, body) + message(0x11, 1, 0, 10)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as line:
        line.settimeout(PATIENCE_SECS)
        line.send(packet)
        said = line.recv(4096)
    if struct.unpack_from("<H", said, 4)[0] == 2:
        code = -struct.unpack_from("<i", said, 16)[0]
        if code:
            raise OSError(code, os.strerror(code))


def change_rules(_, __):
    netfilter(0, 0x405, "escape")
    netfilter(2, 5, "escape")
    return "made and removed a table of nf_tables"


def read_rules(_, __):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as line:
        line.settimeout(PATIENCE_SECS)
        line.send(struct.pack("<IHHII", 20, 0xA01, 0x301, 1, 0) + struct.pack(">BBH", 0, 0, 0))
        said = line.recv(8192)
    if struct.unpack_from("<H", said, 4)[0] == 2:
        code = -struct.unpack_from("<i", said, 16)[0]
        if code:
            raise OSError(code, os.strerror(code))
    return "listed the tables of nf_tables"


def tool(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    if done.returncode:
        raise Refused((done.stderr or done.stdout).strip()[:200])


def shaping(_, __):
    tool("tc", "qdisc", "replace", "dev", "lo", "root", "handle", "99:", "pfifo", "limit", "500")
    tool("tc", "qdisc", "delete", "dev", "lo", "root")
    return "changed a queue"


def address(_, __):
    tool("ip", "address", "add", "198.51.100.9/32", "dev", "lo")
    tool("ip", "address", "delete", "198.51.100.9/32", "dev", "lo")
    return "gave itself an address"


def sockets(_, family, kind, protocol):
    made = lacking(lambda: socket.socket(family, kind, protocol), errno.EAFNOSUPPORT, errno.ENODEV,
                   errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
    made.close()
    return f"a socket of family {family}"


def pair(_, families):
    """Two sockets of a family at once. One that the kernel then cannot pair has been reached all the same."""
    for family in families.split(","):
        try:
            for made in socket.socketpair(int(family), socket.SOCK_SEQPACKET):
                made.close()
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT):
                continue
            if error.errno != errno.EOPNOTSUPP:
                raise
        return f"the kernel made sockets of family {family}"
    raise Lacks(f"the families {families}")


def netlink(_, protocol):
    """The fence's rules are made by this protocol, so the kernel has it."""
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, int(protocol)).close()
    return f"a socket of netlink's protocol {protocol}"


# ---- the kernel

def int80(_, __):
    """getpid by the 32-bit way in, from a child: a filter ends who comes by another architecture."""
    if not X86:
        raise Lacks("only x86-64 has a 32-bit way in")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("b814000000cd80c3"))
    child = os.fork()
    if child == 0:
        enter = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        os._exit(0 if enter() == os.getpid() else 1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV:
        raise Lacks("the kernel has no 32-bit way in")
    if status:
        raise Refused(f"ended by signal {os.WTERMSIG(status)}")
    return "a 32-bit system call was answered"


def x32(_, __):
    got = lacking(lambda: syscall(0x40000000 + 39), errno.ENOSYS)
    return f"a call of the x32 interface was answered: {got}"


def user_namespace(_, __):
    child = os.fork()
    if child == 0:
        try:
            syscall(272, 0x10000000)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))
    return "root in a user namespace of its own"


def cloned_namespace(_, __):
    """clone() with CLONE_NEWUSER."""
    child = syscall(56, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a process in a user namespace of its own"


def mount(_, __):
    os.makedirs("/tmp/here", exist_ok=True)
    syscall(165, b"none", b"/tmp/here", b"tmpfs", 0, 0)
    syscall(166, b"/tmp/here", 0)
    return "mounted a file system"


def chroot(_, __):
    child = os.fork()
    if child == 0:
        try:
            os.chroot("/tmp")
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))
    return "changed the root folder"


def handle(_, __):
    buffer = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0) + b"\0" * 128, 136)
    mount_id = ctypes.c_int()
    lacking(lambda: syscall(303, -100, b"/etc/hosts", buffer, ctypes.byref(mount_id), 0),
            errno.ENOSYS, errno.EOPNOTSUPP)
    where = os.open("/etc/hosts", os.O_RDONLY)
    syscall(304, where, buffer, os.O_RDONLY)
    return "opened a file of the PC by its handle"


def bpf(_, __):
    insns = ctypes.create_string_buffer(bytes.fromhex("b700000000000000" "9500000000000000"))
    licence = ctypes.create_string_buffer(b"GPL")
    attr = struct.pack("<IIQQ", 1, 2, ctypes.addressof(insns), ctypes.addressof(licence)) + b"\0" * 48
    got = lacking(lambda: syscall(321, 5, ctypes.create_string_buffer(attr, len(attr)), len(attr)), errno.ENOSYS)
    os.close(got)
    return "loaded a program into the kernel"


def userfaultfd(_, __):
    os.close(lacking(lambda: syscall(323, 1), errno.ENOSYS))
    return "handles page faults"


def io_uring(_, __):
    os.close(syscall(425, 8, ctypes.create_string_buffer(240)))
    return "a ring for input and output"


def keyring(_, __):
    got = lacking(lambda: syscall(248, b"user", b"escape", b"x", 1, -3), errno.ENOSYS)
    syscall(250, 3, got)
    return "a key in the kernel's keyring"


def perf(_, __):
    attr = ctypes.create_string_buffer(struct.pack("<IIQQQQQ", 1, 128, 0, 0, 0, 0, 0x60) + b"\0" * 80, 128)
    os.close(lacking(lambda: syscall(298, attr, 0, -1, -1, 0), errno.ENOSYS, errno.ENOENT, errno.EOPNOTSUPP))
    return "counts events of the processor"


def module(_, __):
    try:
        lacking(lambda: syscall(313, -1, b"", 0), errno.ENOSYS)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    return "would have loaded a module"


def no_random_addresses(_, __):
    syscall(135, 0x0040000)
    return "addresses of its programs are no longer random"


def kernel_log(_, __):
    got = LIBC.klogctl(3, ctypes.create_string_buffer(4096), 4096)
    if got < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return f"read {got} bytes of the kernel's log"


# ---- privileges

def open_write(_, *paths):
    there = [path for path in paths if os.path.exists(path)]
    if not there:
        raise Lacks(f"there is no {' nor '.join(paths)}")
    os.close(os.open(there[0], os.O_WRONLY))
    return f"opened {there[0]} for writing"


def masked(_, path):
    if not os.path.exists(path):
        raise Lacks(f"there is no {path}")
    if stat.S_ISCHR(os.stat(path).st_mode):
        raise Refused("it is masked")
    with open(path, "rb") as opened:
        return f"read {len(opened.read(4096))} bytes of {path}"


def setuid(_, program):
    said = subprocess.run([program, "-p", "-c", "id -u"], capture_output=True, text=True, timeout=10).stdout.strip()
    if said != "0":
        raise Refused(f"it runs as user {said}")
    return "runs as root"


def write_file(_, path):
    with open(path, "w") as opened:
        opened.write("x")
    return f"wrote {path}"


def give_away(_, __):
    path = "/workspace/.escape"
    with open(path, "w") as opened:
        opened.write("x")
    try:
        os.chown(path, 0, 0)
    finally:
        os.unlink(path)
    return "a file of root's in the volume"


def real_time(_, __):
    try:
        lacking(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)), errno.ENOSYS)
    except PermissionError as error:
        with open("/proc/self/status") as opened:
            rights = next(int(line.split()[1], 16) for line in opened if line.startswith("CapEff"))
        if rights >> 23 & 1:
            raise Lacks("the control group has no real time to give") from error
        raise
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return "goes before every program of the owner's"


def nicer(_, __):
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    return "is nicer to itself than to the owner's programs"


def unkillable(_, __):
    with open("/proc/self/oom_score_adj", "w") as opened:
        opened.write("-900")
    return "goes last where memory is short"


def more_files(_, __):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most + 1000, most + 1000))
    return "raised its limit of open files"


# ---- devices

def make_node(_, __):
    path = "/tmp/escape-node"
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0))
    os.unlink(path)
    return "made a device"


def open_node(_, __):
    path = "/dev/escape-node"
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(10, 229))
    try:
        os.close(lacking(lambda: os.open(path, os.O_RDWR), errno.ENXIO, errno.ENODEV))
    finally:
        os.unlink(path)
    return "opened a device of the PC's"


def devices(_, __):
    usual = {"console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
             "stdout", "tty", "urandom", "zero"}
    beyond = sorted(name for name in os.listdir("/dev") if name not in usual and not name.startswith("nvidia"))
    if not beyond:
        raise Refused("only the card and what every container has")
    return f"sees {beyond}"


# ---- the PC and its programs

def engine(world, _):
    refused = []
    for path in ["/run/docker.sock", "/var/run/docker.sock", world["engine"]]:
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(PATIENCE_SECS)
                line.connect(path)
                line.sendall(b"GET /version HTTP/1.0\r\nHost: x\r\n\r\n")
                return f"the Engine answers: {line.recv(64)!r}"
        except OSError as error:
            refused.append(f"{path}: {error.strerror}")
    raise Refused("; ".join(refused))


def marked(world):
    """The test's own process on the PC, if it is in sight."""
    with open(f"/proc/{world['victim']}/cmdline") as opened:
        if world["mark"] not in opened.read():
            raise ProcessLookupError("another process has that number here")
    return world["victim"]


def send_signal(world, _):
    os.kill(marked(world), signal.SIGSTOP)
    os.kill(marked(world), signal.SIGCONT)
    return "stopped a process of the PC's"


def trace(world, _):
    pid = marked(world)
    if LIBC.ptrace(ctypes.c_long(0x4206), ctypes.c_long(pid), ctypes.c_long(0), ctypes.c_long(0)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return "traces a process of the PC's"


def first_process():
    """Process 1 of this container, wherever it is counted from."""
    with open("/proc/self/cgroup") as opened:
        own = opened.read()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            with open(f"/proc/{pid}/cgroup") as opened:
                if opened.read() == own:
                    return pid
        except OSError:
            continue
    raise Refused("process 1 is not in sight")


def end_first(_, number):
    pid = first_process()
    os.kill(pid, getattr(signal, number))
    time.sleep(0.3)
    try:
        with open(f"/proc/{pid}/stat") as opened:
            state = opened.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        state = "X"
    if state in "TXZ":
        if state == "T":
            os.kill(pid, signal.SIGCONT)
        return f"process 1 took {number}"
    raise Refused("the kernel keeps it from process 1")


def environment_of_first(_, __):
    with open("/proc/1/environ", "rb") as opened:
        return f"read {len(opened.read())} bytes"


def memory_of_first(_, __):
    with open("/proc/1/mem", "rb") as opened:
        return f"opened {opened.name}"


def speak_as_first(_, __):
    """Events that the agent would take for process 1's."""
    os.close(os.open("/proc/1/fd/1", os.O_WRONLY))
    return "writes where process 1 speaks to the agent"


def listen_as_first(_, __):
    os.close(os.open("/proc/1/fd/0", os.O_RDONLY | os.O_NONBLOCK))
    return "reads what the agent says to process 1"


def watches(world, _):
    """The owner has left itself a few: whoever shares the owner's number gets no more than those."""
    with open("/proc/sys/fs/inotify/max_user_instances") as bound:
        most = int(bound.read())
    left = world["watches_left"]
    if most < 4 * left:
        raise Lacks(f"this kernel gives a user {most} instances")
    for number in range(2 * left):
        if LIBC.inotify_init1(0) < 0:
            code = ctypes.get_errno()
            if code != errno.EMFILE:
                raise OSError(code, os.strerror(code))
            return f"the owner's are gone after {number}"
    raise Refused(f"{2 * left} of its own, and the owner's are left")


def link_out(world, path):
    link = "/workspace/escape-link"
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink("../" * 12 + world[path].lstrip("/"), link)
    try:
        with open(link) as opened:
            said = opened.read()
    finally:
        os.unlink(link)
    if world["mark"] not in said:
        raise Refused("the link ends inside the container")
    return "read a file of the PC's"


# ---- bombs: worked is what goes beyond the bound

def fork_bomb(world, _):
    bound, children = world["pids"], []
    reader, writer = os.pipe()
    try:
        while len(children) < bound * 5 // 4:
            child = os.fork()
            if child == 0:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            children.append(child)
    except OSError as error:
        if len(children) <= bound:
            raise Refused(f"{len(children)} processes, then {error.strerror}") from error
    finally:
        os.close(writer)
        for child in children:
            os.waitpid(child, 0)
    if len(children) <= bound:
        raise Refused(f"{len(children)} processes")
    return f"{len(children)} processes"


def memory_bomb(world, _):
    reader, writer = os.pipe()
    most = world["memory_mib"] * 5 // 4
    child = os.fork()
    if child == 0:
        with open("/proc/self/oom_score_adj", "w") as opened:
            opened.write("1000")
        kept = []
        for _step in range(most // 16):
            kept.append(b"\1" * (16 << 20))
            os.write(writer, b"x")
        os._exit(0)
    os.close(writer)
    got = 0
    while read := os.read(reader, 64):
        got += 16 * len(read)
    os.waitpid(child, 0)
    if got <= world["memory_mib"]:
        raise Refused(f"ended at {got} MiB")
    return f"{got} MiB"


def fill(folder, bound_mib):
    path, got = os.path.join(folder, "escape-fill"), 0
    block = b"\1" * (1 << 20)
    try:
        with open(path, "wb", buffering=0) as opened:
            while got < bound_mib * 5 // 4:
                if opened.write(block) < len(block):
                    break
                got += 1
            os.fsync(opened.fileno())
    except OSError as error:
        if got <= bound_mib:
            raise Refused(f"{got} MiB, then {error.strerror}") from error
    finally:
        os.unlink(path)
    if got <= bound_mib:
        raise Refused(f"{got} MiB")
    return f"{got} MiB"


def disk_bomb(world, _):
    if not world["disk_has_quota"]:
        raise Lacks("loop devices, by which what renters keep has a size")
    return fill("/workspace", world["disk_mib"])


def inode_bomb(world, _):
    folder, got = "/tmp/escape-inodes", 0
    os.makedirs(folder, exist_ok=True)
    try:
        for number in range(world["inodes"] * 9 // 8):
            os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
            got += 1
    except OSError as error:
        if got <= world["inodes"]:
            raise Refused(f"{got} files, then {error.strerror}") from error
    finally:
        for number in range(got):
            os.unlink(f"{folder}/{number}")
    if got <= world["inodes"]:
        raise Refused(f"{got} files")
    return f"{got} files"


def file_flood(world, _):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    held, bound = [], world["files"]
    try:
        while len(held) < bound * 9 // 8:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        if len(held) <= bound:
            raise Refused(f"{len(held)} open files, then {error.strerror}") from error
    return f"{len(held)} open files in one process"


ATTEMPTS = {
    "reach": reach,
    "reach-v6": reach_v6,
    "watches": watches,
    "ask": ask,
    "tell": tell,
    "proxied": proxied,
    "ride": ride,
    "flood": flood,
    "change-rules": change_rules,
    "read-rules": read_rules,
    "shaping": shaping,
    "address": address,
    "socket-raw": lambda world, _: sockets(world, socket.AF_INET, socket.SOCK_RAW, 1),
    "socket-packet": lambda world, _: sockets(world, 17, socket.SOCK_RAW, 0),
    "socket-vsock": lambda world, _: sockets(world, 40, socket.SOCK_STREAM, 0),
    "socket-alg": lambda world, _: sockets(world, 38, socket.SOCK_SEQPACKET, 0),
    "socket-xdp": lambda world, _: sockets(world, 44, socket.SOCK_RAW, 0),
    "pair": pair,
    "netlink": netlink,
    "int80": int80,
    "x32": x32,
    "user-namespace": user_namespace,
    "cloned-namespace": cloned_namespace,
    "mount": mount,
    "chroot": chroot,
    "handle": handle,
    "bpf": bpf,
    "userfaultfd": userfaultfd,
    "io-uring": io_uring,
    "keyring": keyring,
    "perf": perf,
    "module": module,
    "no-random-addresses": no_random_addresses,
    "kernel-log": kernel_log,
    "open-write": open_write,
    "cgroup-write": lambda world, _: open_write(
        world, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"),
    "masked": masked,
    "setuid": setuid,
    "write-file": write_file,
    "give-away": give_away,
    "real-time": real_time,
    "nicer": nicer,
    "unkillable": unkillable,
    "more-files": more_files,
    "make-node": make_node,
    "open-node": open_node,
    "devices": devices,
    "engine": engine,
    "send-signal": send_signal,
    "trace": trace,
    "end-first": end_first,
    "environment-of-first": environment_of_first,
    "memory-of-first": memory_of_first,
    "speak-as-first": speak_as_first,
    "listen-as-first": listen_as_first,
    "link-out": link_out,
    "fork-bomb": fork_bomb,
    "memory-bomb": memory_bomb,
    "shm-bomb": lambda world, _: fill("/dev/shm", world["shm_mib"]),
    "tmp-bomb": lambda world, _: fill("/tmp", world["tmp_mib"]),
    "disk-bomb": disk_bomb,
    "inode-bomb": inode_bomb,
    "file-flood": file_flood,
}


def main():
    name, argument = sys.argv[1].partition("=")[::2]
    world = json.loads(sys.argv[2])
    outcome = {"worked": False, "lacks": None}
    try:
        outcome["said"] = str(ATTEMPTS[name](world, argument))
        outcome["worked"] = True
    except Lacks as lack:
        outcome["said"] = outcome["lacks"] = str(lack)
    except Exception as refusal:  # whatever it was refused with
        outcome["said"] = f"{type(refusal).__name__}: {refusal}"
    print(json.dumps(outcome), flush=True)


main()
