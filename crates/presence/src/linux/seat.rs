//! Who sits in front of this PC: whether a seat shows another session than the one whose input is heard here. After a
//! switch of users ours lives on behind it, without input and with a locked screen, as if nobody was there.

use crate::remote::Login;

/// What this program is among the logins, and what it hears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) uid: u32,
    pub(super) session: Option<OwnSession>,
    /// The X display whose input is heard, e.g. `:0`.
    pub(super) display: Option<String>,
    /// Input of a Wayland session is heard, which is always one of this account's.
    pub(super) wayland: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnSession {
    /// As the login manager lists it.
    pub(super) id: String,
    /// This program was started in it. A service of the user belongs to none, and this is the one that the login manager
    /// takes for the user's.
    pub(super) is_certain: bool,
}

/// What a seat shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InFront {
    /// A session that is heard, or none at all.
    Heard,
    /// Nobody is logged in there. Some desktops lock their screen by showing it, so it is no more than a locked screen.
    LoginScreen,
    /// Somebody who is not heard, by name.
    Another(String),
}

impl Own {
    /// Looks at our seat alone. Where we sit at none (a service without a session, a login over the network), somebody at
    /// any of them is somebody at this PC.
    pub(super) fn in_front(&self, logins: &[Login]) -> InFront {
        let mut shown = logins.iter().filter(|login| login.active && !login.seat.is_empty());
        let found = match self.seated(logins) {
            Some(own) => shown
                .find(|login| login.seat == own.seat)
                .filter(|login| login.id != own.id)
                .filter(|login| login.is_login_screen() || self.is_another(login)),
            None => shown.find(|login| login.is_somebody() && !self.hears(login)),
        };
        match found {
            Some(login) if login.is_login_screen() => InFront::LoginScreen,
            Some(login) if login.is_somebody() => InFront::Another(login.name_in_front()),
            _ => InFront::Heard,
        }
    }

    /// Our session, if it is at a seat. One that is closing is left behind: its user may have logged in anew.
    fn seated<'a>(&self, logins: &'a [Login]) -> Option<&'a Login> {
        let own = self.session.as_ref()?;
        logins.iter().find(|login| login.id == own.id && !login.seat.is_empty() && login.state != "closing")
    }

    /// Of two desktops of one account, the login manager may take either for a service's own; a text console is never
    /// heard.
    fn is_another(&self, login: &Login) -> bool {
        let is_certain = self.session.as_ref().is_some_and(|own| own.is_certain);
        is_certain || login.uid != self.uid || login.is_text_console()
    }

    /// Whether input there is heard although this program sits elsewhere, because it was given a way to that desktop.
    fn hears(&self, login: &Login) -> bool {
        if login.is_text_console() {
            return false;
        }
        if login.uid == self.uid {
            return self.display.is_some() || self.wayland;
        }
        // A display that was not told may be the one.
        let same =
            |heard: &String| login.display.is_empty() || screenless(&login.display) == screenless(heard);
        login.kind == "x11" && self.display.as_ref().is_some_and(same)
    }
}

impl Login {
    /// Somebody's login, also the kinds of it that newer login managers have; not that of a program.
    fn is_somebody(&self) -> bool {
        matches!(self.class.as_str(), "user" | "user-early" | "user-light" | "user-early-light")
            && self.state != "closing"
    }

    fn is_login_screen(&self) -> bool {
        matches!(self.class.as_str(), "greeter" | "lock-screen")
    }

    fn is_text_console(&self) -> bool {
        self.kind == "tty"
    }

    fn name_in_front(&self) -> String {
        if self.is_text_console() { format!("{}, {}", self.user, self.kind) } else { self.user.clone() }
    }
}

/// `:0.0` is a screen of the display `:0`.
fn screenless(display: &str) -> &str {
    let number = display.rfind(':').unwrap_or(display.len());
    let end = display[number..].find('.').map_or(display.len(), |screen| number + screen);
    &display[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A desktop at the first seat.
    fn desktop(id: &str, user: &str, uid: u32, active: bool) -> Login {
        Login {
            id: id.into(),
            uid,
            user: user.into(),
            class: "user".into(),
            kind: "x11".into(),
            state: if active { "active" } else { "online" }.into(),
            seat: "seat0".into(),
            active,
            display: format!(":{id}"),
            ..Login::default()
        }
    }

    /// Mia's Nightjar, started in her session `1`.
    fn mia() -> Own {
        let session = Some(OwnSession { id: "1".into(), is_certain: true });
        Own { uid: 1000, session, display: Some(":1".into()), wayland: false }
    }

    /// Mia's, as a service of hers.
    fn mias_service() -> Own {
        let session = Some(OwnSession { id: "1".into(), is_certain: false });
        Own { session, ..mia() }
    }

    fn another(name: &str) -> InFront {
        InFront::Another(name.into())
    }

    #[test]
    fn who_switched_to_an_account_of_their_own_is_somebody_here_until_they_leave() {
        for own in [mia(), mias_service()] {
            let alone = [desktop("1", "mia", 1000, true)];
            assert_eq!(own.in_front(&alone), InFront::Heard);
            let behind = desktop("1", "mia", 1000, false);
            let mut ben = desktop("2", "ben", 1001, true);
            assert_eq!(own.in_front(&[behind.clone(), ben.clone()]), another("ben"));
            // He is logged in still, and she is back.
            let ben_behind = desktop("2", "ben", 1001, false);
            assert_eq!(own.in_front(&[alone[0].clone(), ben_behind]), InFront::Heard);
            // What he left running is nobody.
            ben.state = "closing".into();
            assert_eq!(own.in_front(&[behind.clone(), ben]), InFront::Heard);
            // A console without a login.
            assert_eq!(own.in_front(&[behind]), InFront::Heard);
        }
    }

    #[test]
    fn a_login_screen_is_a_locked_screen_and_nobody_at_work() {
        let behind = desktop("1", "mia", 1000, false);
        for class in ["greeter", "lock-screen"] {
            let greeter = Login { class: class.into(), ..desktop("c1", "gdm", 120, true) };
            assert_eq!(mia().in_front(&[behind.clone(), greeter.clone()]), InFront::LoginScreen);
            // Where nobody of ours sits it is the usual picture.
            assert_eq!(Own::default().in_front(&[greeter]), InFront::Heard);
        }
        for class in ["manager", "background", "none"] {
            let program = Login { class: class.into(), ..desktop("c2", "ben", 1001, true) };
            assert_eq!(mia().in_front(&[behind.clone(), program]), InFront::Heard, "{class}");
        }
        for class in ["user-early", "user-light", "user-early-light"] {
            let ben = Login { class: class.into(), ..desktop("2", "ben", 1001, true) };
            assert_eq!(mia().in_front(&[behind.clone(), ben]), another("ben"), "{class}");
        }
    }

    #[test]
    fn another_seat_is_its_users_own_and_a_login_from_afar_sits_nowhere() {
        let (own, front) = (mia(), desktop("1", "mia", 1000, true));
        let next_to_her = Login { seat: "seat1".into(), ..desktop("2", "ben", 1001, true) };
        let from_afar = Login { seat: String::new(), remote: true, ..desktop("3", "eva", 1002, true) };
        assert_eq!(own.in_front(&[next_to_her, from_afar, front]), InFront::Heard);
    }

    #[test]
    fn a_second_session_of_the_same_account_is_not_heard_where_ours_is_known_for_certain() {
        let behind = desktop("1", "mia", 1000, false);
        let console = Login { kind: "tty".into(), display: String::new(), ..desktop("4", "mia", 1000, true) };
        for own in [mia(), mias_service()] {
            assert_eq!(own.in_front(&[behind.clone(), console.clone()]), another("mia, tty"));
        }
        let second = desktop("5", "mia", 1000, true);
        assert_eq!(mia().in_front(&[behind.clone(), second.clone()]), another("mia"));
        assert_eq!(mias_service().in_front(&[behind.clone(), second.clone()]), InFront::Heard);
        // She logged out, which left Nightjar behind, and in again on the display that it hears.
        let closing = Login { state: "closing".into(), ..behind };
        assert_eq!(mia().in_front(&[closing, second]), InFront::Heard);
    }

    #[test]
    fn without_a_session_whoever_sits_at_the_pc_and_is_not_heard_counts() {
        let service = Own { uid: 1000, ..Own::default() };
        let over_ssh = Own { session: mia().session, ..service.clone() };
        let ssh = Login { seat: String::new(), ..desktop("1", "mia", 1000, true) };
        for own in [service, over_ssh] {
            let at = |login: Login| own.in_front(&[ssh.clone(), login]);
            assert_eq!(own.in_front(std::slice::from_ref(&ssh)), InFront::Heard);
            assert_eq!(at(desktop("2", "ben", 1001, true)), another("ben"));
            assert_eq!(at(desktop("2", "ben", 1001, false)), InFront::Heard);
            assert_eq!(at(desktop("2", "mia", 1000, true)), another("mia"));
            // Given the way to her desktop, it hears that one and no other.
            let display = Own { display: Some(":2.0".into()), ..own.clone() };
            let wayland = Own { wayland: true, ..own.clone() };
            for hearing in [display.clone(), wayland.clone()] {
                assert_eq!(hearing.in_front(&[desktop("2", "mia", 1000, true)]), InFront::Heard);
            }
            let bens = desktop("2", "ben", 1001, true);
            let untold = Login { display: String::new(), ..bens.clone() };
            let wayland_of_ben = Login { kind: "wayland".into(), ..untold.clone() };
            for heard in [bens.clone(), untold] {
                assert_eq!(display.in_front(&[heard]), InFront::Heard);
            }
            for unheard in [desktop("3", "ben", 1001, true), wayland_of_ben] {
                assert_eq!(display.in_front(&[unheard]), another("ben"));
            }
            assert_eq!(wayland.in_front(&[bens]), another("ben"));
        }
    }

    #[test]
    fn a_screen_is_on_its_display() {
        for (display, wanted) in
            [(":0", ":0"), (":0.0", ":0"), ("pc.lan:1.2", "pc.lan:1"), ("pc.lan", "pc.lan")]
        {
            assert_eq!(screenless(display), wanted);
        }
    }
}
