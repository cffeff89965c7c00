//! Who may ask. The rule is pure; the facts come from the kernel (the peer's credentials), from the system's user
//! database and from logind.

use std::path::Path;

/// The group whose members may use the helper.
pub const GROUP: &str = "nightjar";

/// Who is at the other end, by the kernel's word at the moment of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    pub pid: i32,
}

/// What the system says of its users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Id of the group, where there is one.
    pub group: Option<u32>,
    /// User ids of its members.
    pub members: Vec<u32>,
    /// Who sits at this PC.
    pub seat_user: Option<u32>,
}

/// Why a peer is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Root,
    Member,
    AtTheSeat,
}

/// `None`: not let in.
#[must_use]
pub fn standing(peer: Peer, facts: &Facts) -> Option<Standing> {
    if peer.uid == 0 {
        return Some(Standing::Root);
    }
    if facts.members.contains(&peer.uid) || facts.group == Some(peer.gid) {
        return Some(Standing::Member);
    }
    (facts.seat_user == Some(peer.uid)).then_some(Standing::AtTheSeat)
}

impl Facts {
    /// Read anew for each connection: memberships change.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let mut facts = Self::parse(&text("etc/group"), &text("etc/passwd"));
        // What `sd_seat_get_active` reads too; there is no other way that needs no bus.
        facts.seat_user = active_user(&text("run/systemd/seats/seat0"));
        facts
    }

    fn parse(groups: &str, users: &str) -> Self {
        let found = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let Some([_, _, id, names]) =
            found.filter_map(|fields| <[&str; 4]>::try_from(fields).ok()).find(|fields| fields[0] == GROUP)
        else {
            return Self::default();
        };
        let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let members = users.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
            names.contains(&name).then(|| uid.parse().ok())?
        });
        Self { group: id.parse().ok(), members: members.collect(), seat_user: None }
    }
}

fn active_user(seat: &str) -> Option<u32> {
    seat.lines().find_map(|line| line.strip_prefix("ACTIVE_UID="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gid: u32) -> Peer {
        Peer { uid, gid, pid: 7 }
    }

    #[test]
    fn root_members_and_who_sits_here_are_let_in_and_nobody_else() {
        let groups = "root:x:0:\nnightjar:x:990:anna, bo\nnightjars:x:991:eve\n";
        let users = "root:x:0:0:::\nanna:x:1000:1000:::\nbo:x:1001:1001:::\neve:x:1002:1002:::\n";
        let facts = Facts { seat_user: Some(1005), ..Facts::parse(groups, users) };
        assert_eq!(facts.members, [1000, 1001]);
        assert_eq!(standing(peer(0, 0), &Facts::default()), Some(Standing::Root));
        assert_eq!(standing(peer(1000, 1000), &facts), Some(Standing::Member));
        assert_eq!(standing(peer(1009, 990), &facts), Some(Standing::Member));
        assert_eq!(standing(peer(1005, 1005), &facts), Some(Standing::AtTheSeat));
        for stranger in [1002, 65_534, 990] {
            assert_eq!(standing(peer(stranger, 1000), &facts), None, "{stranger}");
        }
    }

    #[test]
    fn without_a_group_or_a_seat_only_root_is_let_in() {
        let facts = Facts::parse("broken\nnightjar:x\n", "anna:x\n");
        assert_eq!(facts, Facts::default());
        assert_eq!(standing(peer(1000, 0), &facts), None);
        assert_eq!(active_user("IS_SEAT0=1\nACTIVE=2\nACTIVE_UID=1000\n"), Some(1000));
        assert_eq!(active_user("ACTIVE_UID=\n"), None);
    }
}
