import ctypes, glob, json, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER, NEWPID = 0x20000, 0x10000000, 0x20000000

def sight(roots=("/proc",)):
    seen = []
    for root in roots:
        for path in glob.glob(f"{root}/[0-9]*/cmdline"):
            try:
                words = open(path, "rb").read().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"nightjar-guest") and b"worker" in words[1:2]:
                seen.append(path)
    return seen

def apart(work):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = work()
        except Exception as error:
            said = []
            print(error, file=sys.stderr)
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.close(write)
    said = b""
    while part := os.read(read, 4096):
        said += part
    os.waitpid(child, 0)
    return json.loads(said or b"[]")

def uncovered(flags):
    def work():
        if flags:
            libc.unshare(flags)
            for name in ("uid_map", "gid_map"):
                try:
                    own = os.getuid() if name == "uid_map" else os.getgid()
                    open(f"/proc/self/{name}", "w").write(f"0 {own} 1\n")
                except OSError:
                    pass
        found = []
        for _ in range(3):
            libc.umount2(b"/proc", 2)
            found += sight()
        os.makedirs("/tmp/another", exist_ok=True)
        libc.mount(b"proc", b"/tmp/another", b"proc", 0, None)
        return found + sight(("/tmp/another",))
    return work

def doors():
    found = []
    for link in ("root", "cwd"):
        found += sight([path + "/proc" for path in glob.glob(f"/proc/[0-9]*/{link}")])
    return found

print(json.dumps({
    "as it is": sight(),
    "below its /proc": apart(uncovered(0)),
    "below its /proc, in namespaces of its own": apart(uncovered(NEWUSER | NEWNS)),
    "with numbers of its own": apart(uncovered(NEWUSER | NEWNS | NEWPID)),
    "by a root or a folder of another": doors(),
}))
