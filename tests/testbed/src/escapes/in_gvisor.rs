//! What is not tried where the tenants run in gVisor, with the reason: the same way leads to something of the sandbox's own
//! there, or the attempt looks at the tenant in a way that gVisor does not have.

const OUT_OF_SIGHT: &str =
    "process 1 is out of sight, and what is called 1 is the tenant's own: e2e's sandboxed.rs shows it";

/// Names of the table.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("user-namespace", "the sandbox's kernel has namespaces of its own, which are nothing on the PC"),
    ("cloned-namespace", "the sandbox's kernel has namespaces of its own, which are nothing on the PC"),
    ("stop-first", OUT_OF_SIGHT),
    ("end-first", OUT_OF_SIGHT),
    ("secrets-of-first", OUT_OF_SIGHT),
    ("speak-as-first", OUT_OF_SIGHT),
    ("listen-as-first", OUT_OF_SIGHT),
    ("kernel-log", "it is the sandbox's, and made up"),
    ("nicer", "a priority among the sandbox's own threads; on the PC all of them have one"),
    ("unkillable", "a number that the sandbox keeps for itself; the PC's kernel has another"),
    ("make-device", "a file of the sandbox's own, which opens nothing: see open-device"),
    ("see-devices", "/dev is the sandbox's, with a fuse of its own making"),
    (
        "dns-tunnel",
        "the Engine's name server may be asked, and knows the list's names alone: e2e's sandboxed.rs shows it",
    ),
    (
        "wake-while-frozen",
        "Docker's list of a sandbox's programs names others: e2e's sandboxed.rs measures who is frozen",
    ),
    ("fork-bomb", "at the limit of processes the sandbox ends, and its tenant with it"),
    ("memory-bomb", "at the limit of memory the sandbox ends, and its tenant with it"),
    ("inode-bomb", "files in /tmp are the sandbox's own memory, at whose limit it ends"),
];
