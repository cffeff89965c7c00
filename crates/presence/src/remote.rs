//! Is somebody using this PC from elsewhere? What a session or a server program must look like for that.

use crate::process::Processes;

/// One login, as the system keeps it.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) id: String,
    pub(crate) uid: u32,
    pub(crate) user: String,
    /// `user`, `greeter`, `background` …
    pub(crate) class: String,
    /// `x11`, `wayland`, `tty` …
    pub(crate) kind: String,
    /// What let it in, e.g. `sshd`, `xrdp-sesman`.
    pub(crate) service: String,
    pub(crate) remote: bool,
    pub(crate) remote_host: String,
    /// `online`, `active`, `closing`.
    pub(crate) state: String,
    /// Where it sits, e.g. `seat0`; empty for one that sits nowhere at this PC.
    pub(crate) seat: String,
    /// Its seat shows it. Also set for those without a seat.
    pub(crate) active: bool,
    /// The X display, e.g. `:0`; empty where there is none or it was not told.
    pub(crate) display: String,
}

#[cfg(target_os = "linux")]
impl Login {
    /// The name by which it is told, if it is use of this PC from elsewhere. A login that is closing lingers for as long
    /// as it has left a program behind, and is nobody.
    pub(crate) fn remote_use(&self, ssh_counts: bool) -> Option<String> {
        if self.class != "user" || self.state == "closing" {
            return None;
        }
        // xrdp's sessions are local ones to the system, since its server runs here.
        if self.service.starts_with("xrdp") {
            return Some(format!("xrdp ({})", self.user));
        }
        if !self.remote {
            return None;
        }
        let from = if self.remote_host.is_empty() { &self.user } else { &self.remote_host };
        match self.kind.as_str() {
            "x11" | "wayland" | "mir" => Some(format!("{} ({from})", self.kind)),
            "tty" if ssh_counts => Some(format!("SSH ({from})")),
            _ => None,
        }
    }
}

/// A server for screens, and by which of its sockets a viewer is known.
#[derive(Debug)]
pub(crate) struct Server {
    /// In lower case.
    program: &'static str,
    sign: Sign,
}

#[derive(Debug)]
enum Sign {
    /// Somebody is connected to a port between these two.
    Connected(u16, u16),
    /// The program has opened one of these, as it does while it streams and not before.
    Streaming(&'static [u16]),
}

const VNC: Sign = Sign::Connected(5900, 5999);
const RDP: Sign = Sign::Connected(3389, 3389);

/// Ports are these programs' own defaults: one that was set to another port is not seen this way.
const SERVERS: &[Server] = &[
    Server { program: "x11vnc", sign: VNC },
    Server { program: "krfb", sign: VNC },
    Server { program: "wayvnc", sign: VNC },
    Server { program: "x0vncserver", sign: VNC },
    Server { program: "x0tigervncserver", sign: VNC },
    Server { program: "xvnc", sign: VNC },
    Server { program: "xtigervnc", sign: VNC },
    Server { program: "vino-server", sign: VNC },
    Server { program: "tvnserver.exe", sign: VNC },
    Server { program: "winvnc.exe", sign: VNC },
    Server { program: "winvnc4.exe", sign: VNC },
    Server { program: "vncserver.exe", sign: VNC },
    Server { program: "gnome-remote-desktop-daemon", sign: RDP },
    Server { program: "krdpserver", sign: RDP },
    Server { program: "xrdp", sign: RDP },
    // Video, control and sound of GameStream, whose sockets Sunshine opens with the first viewer.
    Server { program: "sunshine", sign: Sign::Streaming(&[47998, 47999, 48000]) },
    Server { program: "sunshine.exe", sign: Sign::Streaming(&[47998, 47999, 48000]) },
];

/// The open sockets of this PC, by their ports here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sockets {
    pub(crate) connected_tcp: Vec<u16>,
    pub(crate) udp: Vec<u16>,
}

/// The servers that run.
pub(crate) fn servers(all: &Processes) -> Vec<&'static Server> {
    let running = all.sorted();
    let runs = |server: &&Server| running.iter().any(|process| process.is_called(server.program));
    SERVERS.iter().filter(runs).collect()
}

/// The name of a server that somebody is looking through. Sockets are only looked at where a server runs.
pub(crate) fn viewed(servers: &[&Server], sockets: impl FnOnce() -> Sockets) -> Option<String> {
    if servers.is_empty() {
        return None;
    }
    let sockets = sockets();
    let seen = servers.iter().find(|server| match server.sign {
        Sign::Connected(from, to) => sockets.connected_tcp.iter().any(|port| (from..=to).contains(port)),
        Sign::Streaming(ports) => sockets.udp.iter().any(|port| ports.contains(port)),
    })?;
    Some(seen.program.trim_end_matches(".exe").to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Server, Sockets, servers, viewed};
    use crate::process::Processes;
    use crate::process::tests::process;

    fn running(program: &str) -> Vec<&'static Server> {
        servers(&Processes::new([process(9, 1, &format!("/usr/bin/{program}"), &[program])]))
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn peers_09_remote_logins_are_use_and_ssh_is_if_the_owner_says_so() {
        use super::Login;
        let base = Login {
            user: "mia".into(),
            class: "user".into(),
            kind: "x11".into(),
            state: "active".into(),
            remote: true,
            remote_host: "192.0.2.7".into(),
            ..Login::default()
        };
        assert_eq!(base.remote_use(false), Some("x11 (192.0.2.7)".into()));
        let local = Login { remote: false, ..base.clone() };
        assert_eq!(local.remote_use(true), None);
        let ssh = Login { kind: "tty".into(), service: "sshd".into(), ..base.clone() };
        assert_eq!(ssh.remote_use(false), None);
        assert_eq!(ssh.remote_use(true), Some("SSH (192.0.2.7)".into()));
        let gone = Login { state: "closing".into(), ..base.clone() };
        assert_eq!(gone.remote_use(true), None);
        let xrdp = Login { remote: false, service: "xrdp-sesman".into(), ..base.clone() };
        assert_eq!(xrdp.remote_use(false), Some("xrdp (mia)".into()));
        let greeter = Login { class: "greeter".into(), ..base };
        assert_eq!(greeter.remote_use(true), None);
    }

    #[test]
    fn peers_09_a_viewer_is_use_and_a_server_alone_is_not() {
        let nobody = Sockets { connected_tcp: vec![22, 8080], udp: vec![5353] };
        let vnc = Sockets { connected_tcp: vec![5900], udp: vec![] };
        let stream = Sockets { connected_tcp: vec![], udp: vec![48000] };
        for program in ["x11vnc", "krfb", "wayvnc", "sunshine", "gnome-remote-desktop-daemon"] {
            assert_eq!(viewed(&running(program), || nobody.clone()), None, "{program}");
        }
        assert_eq!(viewed(&running("wayvnc"), || vnc.clone()), Some("wayvnc".into()));
        assert_eq!(viewed(&running("sunshine"), || stream.clone()), Some("sunshine".into()));
        assert_eq!(viewed(&running("sunshine"), || vnc.clone()), None);
        assert_eq!(viewed(&running("bash"), || panic!("looked at sockets for nothing")), None);
    }
}
