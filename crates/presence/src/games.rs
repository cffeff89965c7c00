//! Which of the running programs is a game: by the owner's list, then by the rules of `games.toml`.

use serde::Deserialize;

use crate::process::{Process, Processes, base_name};

/// Part of the program, and read by a test: a mistake in it never reaches a user.
const RULES: &str = include_str!("games.toml");

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    name: Vec<NameRule>,
    argument: Vec<ArgumentRule>,
    started_by: Vec<LauncherRule>,
    folder: Vec<FolderRule>,
    wine: WineRule,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NameRule {
    names: Vec<String>,
    #[serde(default)]
    unless_parent_of: Vec<String>,
    #[serde(rename = "reason")]
    _reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArgumentRule {
    contains: String,
    called: String,
    #[serde(rename = "reason")]
    _reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LauncherRule {
    launcher: String,
    /// The launcher must have this argument too.
    argument: Option<String>,
    /// The launcher's name goes on after this.
    #[serde(default)]
    prefix: bool,
    except: Vec<String>,
    #[serde(rename = "reason")]
    _reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FolderRule {
    under: String,
    /// How the names of folders begin that lie there and hold no game.
    except: Vec<String>,
    #[serde(rename = "reason")]
    _reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WineRule {
    except: Vec<String>,
    #[serde(rename = "reason")]
    _reason: String,
}

/// Knows a game when it sees one.
#[derive(Debug)]
pub(crate) struct Games {
    rules: Rules,
    /// The owner's own, in lower case.
    wanted: Vec<String>,
    never: Vec<String>,
}

impl Games {
    /// `listed`: the owner's list. A name with `!` in front is never a game.
    pub(crate) fn new(listed: &[String]) -> Self {
        let listed: Vec<String> = listed.iter().map(|name| name.trim().to_lowercase()).collect();
        let never = listed.iter().filter_map(|name| name.strip_prefix('!'));
        let never = never.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        let wanted =
            listed.iter().filter(|name| !name.is_empty() && !name.starts_with('!')).cloned().collect();
        let rules = toml::from_str(RULES).unwrap_or_else(|error| {
            tracing::error!(%error, "the rules for games cannot be read: only the owner's list counts");
            Rules::default()
        });
        Self { rules, wanted, never }
    }

    /// The name of a game that runs. The owner's list comes first, since its names are the owner's words.
    pub(crate) fn find(&self, all: &Processes) -> Option<String> {
        let running = all.sorted();
        let listed = running.iter().find_map(|process| self.listed(process));
        listed.or_else(|| running.iter().find_map(|process| self.by_rule(process, all)))
    }

    fn listed(&self, process: &Process) -> Option<String> {
        let plain = |name: &String| name.strip_suffix(".exe").unwrap_or(name).to_owned();
        let is =
            |wanted: &String| process.is_called(wanted) || process.names().any(|own| plain(&own) == *wanted);
        if self.is_never(process) { None } else { self.wanted.iter().find(|wanted| is(wanted)).cloned() }
    }

    fn is_never(&self, process: &Process) -> bool {
        self.never.iter().any(|name| process.is_called(name))
    }

    fn by_rule(&self, process: &Process, all: &Processes) -> Option<String> {
        if self.is_never(process) {
            return None;
        }
        self.by_name(process, all)
            .or_else(|| self.by_argument(process))
            .or_else(|| self.by_folder(process))
            .or_else(|| self.under_wine(process))
            .or_else(|| self.by_launcher(process, all))
    }

    fn by_name(&self, process: &Process, all: &Processes) -> Option<String> {
        let called = |names: &[String], of: &Process| names.iter().find(|name| of.is_called(name)).cloned();
        let rule = self.rules.name.iter().find(|rule| called(&rule.names, process).is_some())?;
        let shell = all.sorted().into_iter().any(|other| {
            called(&rule.unless_parent_of, other).is_some()
                && all.ancestors(other).any(|ancestor| ancestor.pid == process.pid)
        });
        if shell { None } else { called(&rule.names, process) }
    }

    fn by_argument(&self, process: &Process) -> Option<String> {
        let has = |part: &String| process.arguments.iter().any(|own| own.to_lowercase().contains(part));
        self.rules.argument.iter().find(|rule| has(&rule.contains)).map(|rule| rule.called.clone())
    }

    /// Named after the folder, which is the game's title in every library.
    fn by_folder(&self, process: &Process) -> Option<String> {
        let first = process.arguments.first().map_or("", String::as_str);
        [process.file.as_str(), first].into_iter().find_map(|path| {
            let path = path.replace('\\', "/");
            self.rules.folder.iter().find_map(|rule| {
                // Lower case may be of another length, in bytes: the title is cut from where both agree.
                let lower = path.to_lowercase();
                let at = lower.find(&rule.under)? + rule.under.len();
                let folder = lower.get(at..)?.split('/').next().filter(|name| !name.is_empty())?;
                let is_game = !rule.except.iter().any(|other| folder.starts_with(other.as_str()));
                let title = if lower.len() == path.len() { path.get(at..at + folder.len()) } else { None };
                is_game.then(|| title.unwrap_or(folder).to_owned())
            })
        })
    }

    fn under_wine(&self, process: &Process) -> Option<String> {
        if cfg!(windows) {
            return None;
        }
        let first = base_name(process.arguments.first().map_or("", String::as_str));
        let program = [first, process.name.as_str()].into_iter().find(|name| {
            let name = name.to_lowercase();
            // The system's short name may have lost a part of its end.
            name.ends_with(".exe") || (name.len() == 15 && name.ends_with(".ex"))
        })?;
        let own = self.rules.wine.except.iter().any(|other| process.is_called(other));
        (!own).then(|| program.to_owned())
    }

    fn by_launcher(&self, process: &Process, all: &Processes) -> Option<String> {
        let rule = self.rules.started_by.iter().find(|rule| {
            all.ancestors(process).any(|ancestor| {
                let named = ancestor.is_called(&rule.launcher)
                    || (rule.prefix && ancestor.names().any(|name| name.starts_with(&rule.launcher)));
                let argument =
                    |wanted: &String| ancestor.arguments.iter().any(|own| own.to_lowercase() == *wanted);
                named && rule.argument.as_ref().is_none_or(argument)
            })
        })?;
        let own = |other: &String| {
            process.is_called(other)
                || (rule.prefix && process.names().any(|name| name.starts_with(&rule.launcher)))
        };
        let helper =
            rule.except.iter().any(own) || self.rules.wine.except.iter().any(|own| process.is_called(own));
        (!helper)
            .then(|| base_name(&process.file).to_owned())
            .map(|file| if file.is_empty() { process.name.clone() } else { file })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Games, RULES, Rules};
    use crate::process::Processes;
    use crate::process::tests::process;

    fn found(listed: &[&str], all: Vec<crate::process::Process>) -> Option<String> {
        let listed: Vec<String> = listed.iter().map(|&name| name.to_owned()).collect();
        Games::new(&listed).find(&Processes::new(all))
    }

    #[test]
    fn the_rules_can_be_read_and_are_in_lower_case() {
        let rules: Rules = toml::from_str(RULES).unwrap();
        let names = rules.name.iter().flat_map(|rule| &rule.names);
        let words = names
            .chain(rules.argument.iter().map(|rule| &rule.contains))
            .chain(rules.started_by.iter().flat_map(|rule| rule.except.iter().chain([&rule.launcher])))
            .chain(rules.folder.iter().flat_map(|rule| rule.except.iter().chain([&rule.under])))
            .chain(&rules.wine.except);
        for word in words {
            assert_eq!(*word, word.to_lowercase());
        }
    }

    /// Nothing needs to be pressed: a game that is started is seen by itself.
    #[test]
    fn peers_03_a_game_is_seen_without_a_button_for_it() {
        let steam = "/home/u/.local/share/Steam/ubuntu12_32/steam";
        let library = "/home/u/.local/share/Steam/steamapps/common";
        let native = vec![
            process(10, 1, steam, &["steam"]),
            process(11, 10, "/home/u/.steam/reaper", &["reaper", "SteamLaunch", "AppId=620", "--", "hl2"]),
            process(12, 11, &format!("{library}/Portal 2/portal2_linux"), &["./portal2_linux"]),
        ];
        assert_eq!(found(&[], native), Some("Portal 2".into()));

        let proton = format!("{library}/Proton 9.0/files/bin/wine64-preloader");
        let under_wine = vec![
            process(10, 1, steam, &["steam"]),
            process(20, 1, &proton, &[r"C:\windows\system32\services.exe"]),
            process(21, 1, &proton, &[r"S:\common\ELDEN RING\Game\eldenring.exe"]),
        ];
        assert_eq!(found(&[], under_wine), Some("eldenring.exe".into()));

        let lutris = vec![
            process(30, 1, "/usr/bin/python3", &["lutris-wrapper: Quake"]),
            process(31, 30, "/home/u/Games/quake/ironwail", &["ironwail"]),
        ];
        assert_eq!(found(&[], lutris), Some("ironwail".into()));
        let java = process(40, 1, "/usr/bin/java", &["java", "net.minecraft.client.main.Main"]);
        assert_eq!(found(&[], vec![java]), Some("Minecraft".into()));
        let windows = process(50, 4, r"D:\SteamLibrary\steamapps\common\Hades II\Ship\Hades2.exe", &[]);
        assert_eq!(found(&[], vec![windows]), Some("Hades II".into()));
    }

    #[test]
    fn launchers_that_only_stand_open_are_no_games() {
        let library = "/home/u/.local/share/Steam/steamapps/common";
        let runtime = format!("{library}/SteamLinuxRuntime_sniper/pressure-vessel/bin/pv-adverb");
        let open = vec![
            process(10, 1, "/home/u/.local/share/Steam/ubuntu12_32/steam", &["steam"]),
            process(11, 10, "/home/u/.local/share/Steam/ubuntu12_64/steamwebhelper", &["steamwebhelper"]),
            process(12, 10, &runtime, &["pv-adverb"]),
            process(13, 1, "/usr/bin/python3", &["/usr/bin/lutris"]),
            process(14, 1, "/opt/Heroic/heroic", &["heroic"]),
            process(15, 14, "/opt/Heroic/heroic", &["heroic", "--type=zygote"]),
            process(16, 14, "/opt/Heroic/resources/legendary", &["legendary", "list"]),
            process(17, 1, "/usr/bin/wine64-preloader", &[r"C:\windows\system32\explorer.exe", "/desktop"]),
            process(18, 1, "/usr/bin/java", &["java", "-jar", "idea.jar"]),
        ];
        assert_eq!(found(&[], open), None);
    }

    #[test]
    fn a_session_that_is_steam_as_a_whole_is_no_game_until_one_runs() {
        let session = || {
            vec![
                process(5, 1, "/usr/bin/gamescope-wl", &["gamescope-wl"]),
                process(6, 5, "/usr/lib/steam/steam", &["steam", "-gamepadui"]),
            ]
        };
        assert_eq!(found(&[], session()), None);
        let mut playing = session();
        playing.push(process(9, 6, "/home/u/steamapps/common/Celeste/Celeste", &["./Celeste"]));
        assert_eq!(found(&[], playing), Some("Celeste".into()));
        let nested = process(5, 1, "/usr/bin/gamescope", &["gamescope", "--", "supertux2"]);
        assert_eq!(found(&[], vec![nested]), Some("gamescope".into()));
    }

    #[test]
    fn the_owner_adds_and_takes_away() {
        let office = || vec![process(7, 1, "/usr/bin/wine64-preloader", &[r"C:\Office\winword.exe"])];
        assert_eq!(found(&[], office()), Some("winword.exe".into()));
        assert_eq!(found(&["!WINWORD.EXE"], office()), None);
        let mine = || vec![process(8, 1, "/home/u/bin/MyGame", &["MyGame"])];
        assert_eq!(found(&[], mine()), None);
        assert_eq!(found(&["mygame"], mine()), Some("mygame".into()));
        assert_eq!(found(&["hades2"], vec![process(9, 1, r"C:\x\Hades2.exe", &[])]), Some("hades2".into()));
    }

    proptest! {
        #[test]
        fn whatever_runs_the_answer_comes_and_is_the_same_in_any_order(
            names in proptest::collection::vec("[a-zA-ZÄİ./\\\\ ]{0,40}", 1..12),
            parents in proptest::collection::vec(0_u32..12, 12),
        ) {
            let all: Vec<_> = (0_u32..).zip(&names).zip(&parents).map(|((pid, name), parent)| {
                process(pid, *parent, name, &[name])
            }).collect();
            let mut turned = all.clone();
            turned.reverse();
            prop_assert_eq!(found(&["a"], all), found(&["a"], turned));
        }
    }
}
