//! What is tried, as data: the attempt, the fence against it, and what takes that fence away. One table, longer than a
//! file of code may be, so that it is read from top to bottom.

/// Whose container it is tried from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Egress is open: what is refused here is refused by the fence, not for want of a way out.
    Open,
    /// Egress by names of a list.
    Curated,
}

/// How it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By this function of `attempts.py`, with its argument after a `=`.
    Inside(&'static str),
    /// A frozen tenant whose processes wake each other.
    WakeWhileFrozen,
    /// The first process of an image writes without end.
    FloodTheLog,
    /// A lease names an image that the catalogue does not have.
    StrangeImage,
    /// An image whose `/dev` leads to a folder of the PC.
    DeviceFolderLeadsOut,
    /// A pipe that nobody reads, where process 1 writes what the tenant is told.
    HoldUpFirst,
}

/// What takes the fence away. Everything else stays as the product made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// A merge patch (RFC 7396) of the container's configuration as the Engine tells it. `$NAME` stands for what the
    /// world knows by that name.
    Container(&'static str),
    /// Replacements in the rules of both tenants' gateways.
    Rules(&'static [(From, &'static str, &'static str)]),
    /// Lines of the proxy's configuration, and rules.
    Proxy(&'static [(&'static str, &'static str)], &'static [(From, &'static str, &'static str)]),
    /// The other way of doing it, which the attempt knows.
    OtherWay,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub name: &'static str,
    /// What it is after.
    pub tries: &'static str,
    /// What stands against it.
    pub fence: &'static str,
    pub from: From,
    pub how: How,
    /// What of the container is given to it in any case, as a merge patch.
    pub given: Option<&'static str>,
    pub without: Without,
}

const BLOCKED: &[(From, &str, &str)] = &[(From::Open, "ip daddr @blocked reject", "")];
const OWN: &[(From, &str, &str)] = &[(From::Open, "ip daddr @own reject", "")];
/// Who is not the proxy is refused twice: before what follows a connection, and at the end.
const LAST_RULE: &[(From, &str, &str)] = &[
    (From::Curated, "ct direction original meta skuid != 0 reject", ""),
    (From::Curated, "\t\treject\n", "\t\taccept\n"),
];
const UNCONFINED: &str = r#"{"HostConfig":{"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#;
const HOSTILE: &str = r#"{"Image":"$HOSTILE"}"#;
/// Sees every process of the PC, and has the number of its owner.
const HOST_PROCESSES: &str = r#"{"User":"1000:1000","HostConfig":{"PidMode":"host"}}"#;
/// `sleep` as process 1, which is like any other program: what stands against these is process 1's own doing.
const ORDINARY_FIRST: &str = "{}";

const fn open(
    name: &'static str,
    tries: &'static str,
    fence: &'static str,
    how: &'static str,
    without: Without,
) -> Attempt {
    Attempt { name, tries, fence, from: From::Open, how: How::Inside(how), given: None, without }
}

const fn curated(
    name: &'static str,
    tries: &'static str,
    fence: &'static str,
    how: &'static str,
    without: Without,
) -> Attempt {
    Attempt { from: From::Curated, ..open(name, tries, fence, how, without) }
}

const fn kernel(name: &'static str, tries: &'static str, how: &'static str) -> Attempt {
    open(name, tries, "seccomp: the call is not on the list", how, Without::Container(UNCONFINED))
}

const fn root(
    name: &'static str,
    tries: &'static str,
    fence: &'static str,
    how: &'static str,
    patch: &'static str,
) -> Attempt {
    open(name, tries, fence, how, Without::Container(patch))
}

const NO_CAPABILITY: &str = "an ordinary user without any capability";
const ROUTES_ALONE: &str = "no capability, and seccomp's list of netlink's protocols";
const BY_ADDRESS: &str = "netfilter: private and special networks";

/// All of it. What leaves the PC busy or full comes last.
pub const ATTEMPTS: &[Attempt] = &[
    // The network of the home.
    open("lan", "a device of the home network", BY_ADDRESS, "reach=lan", Without::Rules(BLOCKED)),
    open(
        "host-by-bridge",
        "a service of the PC, by the bridge's address",
        BY_ADDRESS,
        "reach=bridge",
        Without::Rules(BLOCKED),
    ),
    open(
        "host-by-address",
        "a service of the PC, by its own address",
        BY_ADDRESS,
        "reach=host",
        Without::Rules(BLOCKED),
    ),
    open(
        "names-of-the-home",
        "names of the home's devices, by the PC's own name server",
        BY_ADDRESS,
        "ask=home-names",
        Without::Rules(BLOCKED),
    ),
    open(
        "metadata",
        "the metadata address 169.254.169.254",
        BY_ADDRESS,
        "reach=metadata",
        Without::Rules(BLOCKED),
    ),
    open(
        "carrier-network",
        "the provider's or a VPN's network 100.64.0.0/10",
        BY_ADDRESS,
        "reach=carrier",
        Without::Rules(BLOCKED),
    ),
    open(
        "multicast",
        "devices that announce themselves by multicast",
        BY_ADDRESS,
        "tell=multicast",
        Without::Rules(BLOCKED),
    ),
    open(
        "public-host",
        "a service of the PC, by a public address that it has",
        "netfilter: the PC's own addresses, told to the gateway",
        "reach=own-public",
        Without::Rules(BLOCKED),
    ),
    open(
        "home-by-its-public-address",
        "what the home has open to the outside, by the router's NAT loopback",
        "netfilter: the home's address as others see it, told to the gateway while it stands",
        "reach=seen-from",
        Without::Rules(OWN),
    ),
    open(
        "host-by-loopback",
        "a service of the PC that listens to itself alone",
        "a network namespace of its own",
        "reach=loopback",
        Without::Container(r#"{"HostConfig":{"NetworkMode":"host"}}"#),
    ),
    open(
        "coordinator",
        "the coordinator's port on the same PC",
        "a network namespace of its own",
        "reach=coordinator",
        Without::Container(r#"{"HostConfig":{"NetworkMode":"host"}}"#),
    ),
    open(
        "neighbour",
        "another tenant's Jupyter",
        "netfilter: private networks on the way out, all but the bridge on the way in",
        "reach=neighbour",
        Without::Rules(&[
            (From::Open, "ip daddr @blocked reject", ""),
            (From::Curated, "ct state established,related accept", "accept"),
        ]),
    ),
    open(
        "mail",
        "sending mail",
        "netfilter: mail ports",
        "reach=mail",
        Without::Rules(&[(From::Open, "tcp dport { 25, 465, 587 } reject", "")]),
    ),
    open(
        "ipv6",
        "the PC by IPv6",
        "netfilter: no IPv6",
        "reach-v6=ipv6",
        Without::Rules(&[
            (From::Open, "reject with icmpv6 port-unreachable", ""),
            (From::Open, "meta nfproto ipv6 drop", "meta nfproto ipv6 accept"),
        ]),
    ),
    // Past the proxy.
    curated(
        "past-the-proxy",
        "a public address, past the proxy",
        "netfilter: only the proxy's user leaves",
        "reach=public",
        Without::Rules(LAST_RULE),
    ),
    curated(
        "dns-tunnel",
        "data in names that the Engine's name server asks for",
        "netfilter: only the proxy asks for names",
        "ask=resolver",
        Without::Rules(&[(From::Curated, "ip daddr 127.0.0.11 meta skuid != 0 reject", "")]),
    ),
    curated(
        "dns-direct",
        "data in names, to a name server of its own",
        "netfilter: only the proxy's user leaves",
        "ask=public-dns",
        Without::Rules(LAST_RULE),
    ),
    curated(
        "ride-on-a-question",
        "data in names, as part of a question of the proxy's that was just answered",
        "netfilter: what goes the way of a connection's first packet is the proxy's user's",
        "ride=pypi.org",
        Without::Rules(&[(From::Curated, "ct direction original meta skuid != 0 reject", "")]),
    ),
    curated(
        "udp-out",
        "QUIC past the proxy",
        "netfilter: only the proxy's user leaves",
        "ask=public-quic",
        Without::Rules(LAST_RULE),
    ),
    curated(
        "dns-by-proxy",
        "data in names that the proxy asks for",
        "the proxy's list of names",
        "proxied=data-in-a-name.example.com",
        Without::Proxy(&[("FilterDefaultDeny Yes", "FilterDefaultDeny No")], &[]),
    ),
    curated(
        "proxy-port",
        "another port through the proxy: mail, SSH",
        "the proxy's list of ports",
        "proxied=CONNECT pypi.org:25",
        Without::Proxy(&[("ConnectPort 443", "ConnectPort 25")], &[]),
    ),
    curated(
        "proxy-to-lan",
        "the home network through the proxy",
        "the proxy's list of names; netfilter holds behind it",
        "proxied=lan",
        Without::Proxy(
            &[("FilterDefaultDeny Yes", "FilterDefaultDeny No")],
            &[
                (From::Curated, "ip daddr @blocked reject", ""),
                (From::Curated, "\t\treject\n", "\t\taccept\n"),
            ],
        ),
    ),
    // The fence itself.
    root(
        "change-rules",
        "changing the fence's rules",
        ROUTES_ALONE,
        "change-rules",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["NET_ADMIN"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    root(
        "read-rules",
        "reading the fence's rules",
        ROUTES_ALONE,
        "read-rules",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["NET_ADMIN"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    root(
        "change-shaping",
        "taking the bandwidth limit away",
        NO_CAPABILITY,
        "shaping",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["NET_ADMIN"]}}"#,
    ),
    root(
        "take-an-address",
        "taking an address that is somebody else's",
        NO_CAPABILITY,
        "address",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["NET_ADMIN"]}}"#,
    ),
    root(
        "raw-socket",
        "packets with forged senders",
        NO_CAPABILITY,
        "socket-raw",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["NET_RAW"]}}"#,
    ),
    root(
        "packet-socket",
        "reading and forging frames",
        "no capability, and seccomp's list of socket families",
        "socket-packet",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["NET_RAW"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    // The kernel.
    kernel("vsock", "the hypervisor, by AF_VSOCK", "socket-vsock"),
    kernel("kernel-ciphers", "the kernel's ciphers, by AF_ALG", "socket-alg"),
    root(
        "express-path",
        "frames past the network stack, by AF_XDP",
        "no capability, and seccomp's list of socket families",
        "socket-xdp",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["NET_RAW"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    open(
        "socket-pairs",
        "families of sockets by socketpair: TIPC, the hypervisor's, the ciphers'",
        "seccomp: pairs of unix sockets alone",
        "pair=30,40,38",
        Without::Container(UNCONFINED),
    ),
    open(
        "netlink-protocols",
        "the kernel behind netlink's other protocols",
        "seccomp: netlink's routes alone",
        "netlink=12",
        Without::Container(UNCONFINED),
    ),
    kernel("syscalls-32-bit", "system calls by the 32-bit way in", "int80"),
    kernel("syscalls-x32", "system calls by the x32 interface", "x32"),
    kernel("user-namespace", "root in a user namespace of its own", "user-namespace"),
    kernel("cloned-namespace", "the same by clone()", "cloned-namespace"),
    kernel("userfaultfd", "handling the kernel's page faults", "userfaultfd"),
    kernel("io-uring", "io_uring, around the filter", "io-uring"),
    kernel("keyring", "the kernel's keyring, which is not in a namespace", "keyring"),
    kernel("perf", "counting the processor's events, to spy on others", "perf"),
    kernel("no-random-addresses", "turning off random addresses", "no-random-addresses"),
    root(
        "kernel-log",
        "the kernel's log",
        "seccomp, and no capability",
        "kernel-log",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["SYSLOG"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    root(
        "bpf",
        "a program in the kernel",
        "seccomp, and no capability",
        "bpf",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["SYS_ADMIN"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    root(
        "module",
        "a module in the kernel",
        "seccomp, and no capability",
        "module",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["SYS_MODULE"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    root(
        "mount",
        "mounting a file system",
        "seccomp, and no capability",
        "mount",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["SYS_ADMIN"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    root(
        "chroot",
        "another root folder",
        "seccomp, and no capability",
        "chroot",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["SYS_CHROOT"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    root(
        "file-handle",
        "a file of the PC by its handle",
        "seccomp, and no capability",
        "handle",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["DAC_READ_SEARCH"],"SecurityOpt":["no-new-privileges","seccomp=unconfined"]}}"#,
    ),
    // Privileges.
    Attempt {
        given: Some(HOSTILE),
        ..root(
            "setuid-program",
            "a program of the image's that becomes root",
            "no-new-privileges",
            "setuid=/opt/mine",
            r#"{"HostConfig":{"SecurityOpt":["seccomp=$SECCOMP"]}}"#,
        )
    },
    Attempt {
        given: Some(HOSTILE),
        ..root(
            "system-disk",
            "filling the PC's disk through the image's own folders",
            "a read-only root",
            "write-file=/opt/open/mine",
            r#"{"HostConfig":{"ReadonlyRootfs":false}}"#,
        )
    },
    root(
        "change-image",
        "changing the image's programs for who comes next",
        "a read-only root, owned by root",
        "write-file=/usr/bin/mine",
        r#"{"User":"0:0","HostConfig":{"ReadonlyRootfs":false}}"#,
    ),
    root(
        "give-away",
        "a file of root's in the volume",
        NO_CAPABILITY,
        "give-away",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["CHOWN","DAC_OVERRIDE","FOWNER"]}}"#,
    ),
    root(
        "real-time",
        "running before every program of the owner's",
        NO_CAPABILITY,
        "real-time",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["SYS_NICE"]}}"#,
    ),
    root(
        "nicer",
        "a higher priority than the owner's programs",
        NO_CAPABILITY,
        "nicer",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["SYS_NICE"]}}"#,
    ),
    root(
        "unkillable",
        "staying where memory is short, in the owner's place",
        NO_CAPABILITY,
        "unkillable",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["SYS_RESOURCE"]}}"#,
    ),
    root(
        "more-files",
        "raising its own limits",
        NO_CAPABILITY,
        "more-files",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["SYS_RESOURCE"]}}"#,
    ),
    // Files of the kernel's.
    root(
        "core-pattern",
        "having the kernel start a program as root",
        "/proc/sys is read-only, and not the tenant's",
        "open-write=/proc/sys/kernel/core_pattern",
        r#"{"User":"0:0","HostConfig":{"ReadonlyPaths":[]}}"#,
    ),
    root(
        "sysrq",
        "restarting the PC",
        "/proc/sysrq-trigger is read-only, and not the tenant's",
        "open-write=/proc/sysrq-trigger",
        r#"{"User":"0:0","HostConfig":{"ReadonlyPaths":[]}}"#,
    ),
    root(
        "kernel-keys",
        "the PC's keys",
        "/proc/keys is masked",
        "masked=/proc/keys",
        r#"{"HostConfig":{"MaskedPaths":[]}}"#,
    ),
    root(
        "timer-list",
        "what the PC's programs wait for",
        "/proc/timer_list is masked, and not the tenant's",
        "masked=/proc/timer_list",
        r#"{"User":"0:0","HostConfig":{"MaskedPaths":[]}}"#,
    ),
    root(
        "kernel-core",
        "the PC's memory",
        "/proc/kcore is masked, and not the tenant's",
        "masked=/proc/kcore",
        r#"{"User":"0:0","HostConfig":{"MaskedPaths":[]}}"#,
    ),
    root(
        "sys-write",
        "settings of the kernel's under /sys",
        "/sys is read-only, and not the tenant's",
        "open-write=/sys/kernel/mm/transparent_hugepage/enabled",
        r#"{"User":"0:0","HostConfig":{"Binds":["/sys:/sys:rw"]}}"#,
    ),
    root(
        "own-limits",
        "raising its own memory limit",
        "control groups are read-only, and not the tenant's",
        "cgroup-write",
        r#"{"User":"0:0","HostConfig":{"Binds":["/sys:/sys:rw"]}}"#,
    ),
    // Devices.
    root(
        "make-device",
        "making a device",
        NO_CAPABILITY,
        "make-node",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["MKNOD"]}}"#,
    ),
    root(
        "open-device",
        "opening a device of the PC's",
        "no capability, and the control group's list of devices",
        "open-node",
        r#"{"User":"0:0","HostConfig":{"CapAdd":["MKNOD"],"DeviceCgroupRules":["c *:* rmw"]}}"#,
    ),
    root(
        "see-devices",
        "devices of the PC's beside the card",
        "only the card is given",
        "devices",
        r#"{"HostConfig":{"Devices":[{"PathOnHost":"/dev/fuse","PathInContainer":"/dev/fuse","CgroupPermissions":"rwm"}]}}"#,
    ),
    // The PC and its programs.
    root(
        "engine-socket",
        "the Docker Engine",
        "its socket is not in the container",
        "engine",
        r#"{"User":"52814:0","HostConfig":{"Binds":["$ENGINE:/run/docker.sock"]}}"#,
    ),
    root(
        "signal-the-host",
        "stopping a program of the owner's",
        "a process namespace of its own, and a number that no account has",
        "send-signal",
        HOST_PROCESSES,
    ),
    root(
        "trace-the-host",
        "tracing a program of the owner's",
        "a process namespace of its own, and a number that no account has",
        "trace",
        HOST_PROCESSES,
    ),
    root(
        "inotify-of-the-owner",
        "what the kernel lets each user watch of files, until the owner's programs get none",
        "a number that no account has",
        "watches",
        r#"{"User":"1000:1000"}"#,
    ),
    root(
        "link-out",
        "a file of the PC by a link in the volume",
        "nothing of the PC is in the container",
        "link-out=secret",
        r#"{"HostConfig":{"Binds":["$FOLDER:$FOLDER:ro"]}}"#,
    ),
    // Process 1, which ends the tenant where its line is cut.
    root(
        "stop-first",
        "stopping process 1, so that no cut line ends the tenant",
        "the kernel keeps it from process 1 of its namespace",
        "end-first=SIGSTOP",
        HOST_PROCESSES,
    ),
    root(
        "end-first",
        "ending process 1, so that the agent is not told",
        "the kernel keeps it from process 1 of its namespace",
        "end-first=SIGKILL",
        HOST_PROCESSES,
    ),
    root(
        "secrets-of-first",
        "what process 1 was started with",
        "process 1 is not dumpable",
        "environment-of-first",
        ORDINARY_FIRST,
    ),
    root(
        "memory-of-first",
        "the Jupyter token in process 1's memory",
        "process 1 is not dumpable",
        "memory-of-first",
        ORDINARY_FIRST,
    ),
    root(
        "speak-as-first",
        "lying to the agent in process 1's name",
        "process 1 is not dumpable",
        "speak-as-first",
        ORDINARY_FIRST,
    ),
    root(
        "listen-as-first",
        "taking the agent's words from process 1",
        "process 1 is not dumpable",
        "listen-as-first",
        r#"{"OpenStdin":true}"#,
    ),
    // Beside the container.
    Attempt {
        how: How::HoldUpFirst,
        ..open(
            "hold-up-first",
            "holding up process 1 for ever, so that no cut line ends the tenant",
            "process 1 opens nothing that the tenant has put there",
            "",
            Without::OtherWay,
        )
    },
    Attempt {
        how: How::WakeWhileFrozen,
        ..open(
            "wake-while-frozen",
            "going on while it is frozen, by processes that wake each other",
            "the freezer of the control group, not signals",
            "",
            Without::OtherWay,
        )
    },
    Attempt {
        how: How::StrangeImage,
        ..open(
            "strange-image",
            "a lease with an image of its own, which is in the Engine already",
            "the catalogue: what it does not list is not run, whatever the lease says",
            "",
            Without::OtherWay,
        )
    },
    Attempt {
        how: How::DeviceFolderLeadsOut,
        ..open(
            "device-folder-leads-out",
            "devices of the PC by an image whose /dev is a link",
            "the runtime follows links inside the image alone",
            "",
            Without::OtherWay,
        )
    },
    Attempt {
        how: How::FloodTheLog,
        ..open(
            "log-flood",
            "filling the PC's disk with what it writes",
            "the Engine keeps a MiB of it",
            "",
            Without::Container(
                r#"{"HostConfig":{"LogConfig":{"Config":{"max-size":null,"max-file":null}}}}"#,
            ),
        )
    },
    // Bombs, against wider bounds.
    root(
        "fork-bomb",
        "processes without number",
        "the control group's limit of processes",
        "fork-bomb",
        r#"{"HostConfig":{"PidsLimit":$MORE_PIDS}}"#,
    ),
    root(
        "memory-bomb",
        "all of the memory",
        "the control group's limit of memory",
        "memory-bomb",
        r#"{"HostConfig":{"Memory":$MORE_MEMORY,"MemorySwap":$MORE_MEMORY}}"#,
    ),
    root(
        "shm-bomb",
        "all of the memory, by /dev/shm",
        "the size of /dev/shm",
        "shm-bomb",
        r#"{"HostConfig":{"ShmSize":$MORE_SHM}}"#,
    ),
    root(
        "tmp-bomb",
        "all of the memory, by /tmp",
        "the size of /tmp",
        "tmp-bomb",
        r#"{"HostConfig":{"Tmpfs":{"/tmp":"rw,nosuid,nodev,exec,size=$MORE_TMP,mode=1777"}}}"#,
    ),
    root(
        "disk-bomb",
        "all of the PC's disk, by what it keeps",
        "the size of the renter's disk, which is a file of the host's",
        "disk-bomb",
        r#"{"HostConfig":{"Mounts":null,"Binds":["$FOLDER/wide:/workspace:rw"]}}"#,
    ),
    root(
        "inode-bomb",
        "files without number, which are memory of the kernel's",
        "the number of files in /tmp",
        "inode-bomb",
        r#"{"HostConfig":{"Tmpfs":{"/tmp":"rw,nosuid,nodev,exec,size=64m,mode=1777,nr_inodes=$MORE_INODES"}}}"#,
    ),
    root(
        "file-flood",
        "open files without number",
        "the limit of open files",
        "file-flood",
        r#"{"HostConfig":{"Ulimits":[{"Name":"nofile","Soft":20000,"Hard":20000}]}}"#,
    ),
    open(
        "connection-flood",
        "connections without number, which fill the PC's table of them",
        "netfilter: so many at once",
        "flood",
        Without::Rules(&[(From::Open, "ct state new ct count over 4096 reject", "")]),
    ),
];
