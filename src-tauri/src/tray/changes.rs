//! What differs between two menus: a desktop whose menu is kept line by line is sent only this.

use nightjar_core::host::HostState;

use super::{Line, Shown, lines};

/// One thing to change on the desktop.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    Icon(HostState),
    Tooltip(String),
    Label(Line, String),
    Enabled(Line, bool),
    Checked(Line, bool),
}

pub(super) fn changes(old: &Shown, new: &Shown) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.state != new.state {
        changes.push(Change::Icon(new.state));
    }
    if old.menu.tooltip != new.menu.tooltip {
        changes.push(Change::Tooltip(new.menu.tooltip.clone()));
    }
    let before = lines(&old.menu);
    for look in lines(&new.menu) {
        let was = before.iter().find(|was| was.line == look.line);
        if was.is_none_or(|was| was.label != look.label) {
            changes.push(Change::Label(look.line, look.label.to_owned()));
        }
        if was.is_none_or(|was| was.is_enabled != look.is_enabled) {
            changes.push(Change::Enabled(look.line, look.is_enabled));
        }
        if let Some(on) = look.is_checked
            && was.is_none_or(|was| was.is_checked != look.is_checked)
        {
            changes.push(Change::Checked(look.line, on));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use nightjar_core::settings::{Language, Settings};

    use super::super::tests::view;
    use super::*;

    #[test]
    fn nothing_new_changes_nothing() {
        let shown = Shown::of(&view(Language::English, Settings::default()));
        assert_eq!(changes(&shown, &shown), Vec::new());
    }

    #[test]
    fn only_what_is_new_is_sent() {
        let old = Shown::of(&view(Language::English, Settings::default()));
        let mut new = old.clone();
        new.menu.today = String::from("Today: 2.00 CNY");
        new.menu.can_stop_job = !old.menu.can_stop_job;
        new.state = HostState::Earning;
        assert_eq!(
            changes(&old, &new),
            vec![
                Change::Icon(HostState::Earning),
                Change::Label(Line::Today, String::from("Today: 2.00 CNY")),
                Change::Enabled(Line::Stop, new.menu.can_stop_job),
            ]
        );
    }

    #[test]
    fn another_language_changes_every_label() {
        let english = Shown::of(&view(Language::English, Settings::default()));
        let chinese = Shown::of(&view(Language::SimplifiedChinese, Settings::default()));
        // The tooltip and every line: twelve and the five of the power menu.
        assert_eq!(changes(&english, &chinese).len(), 1 + 12 + 5);
    }
}
