//! `cargo xtask licences`: what the package's programs and the window's page are built of, with licences, as cargo and the
//! page's lock file name them. No network is asked. The list is committed; a test says when it is old.

use std::fs;

use crate::shell::{Done, cargo, root};

/// Shown on the page Help, and installed with the package.
pub(crate) const LIST: &str = "crates/protocol/components.tsv";
/// Programs of the package.
const PROGRAMS: [&str; 3] = ["nightjar-cli", "nightjar-desktop", "nightjar-helper"];
/// What is only there to build the page, but leaves code of its own in it.
const LEFT_IN_PAGE: [&str; 2] = ["svelte", "clsx"];

pub(crate) fn write() -> Done {
    let list = list()?;
    fs::write(root().join(LIST), &list).map_err(|error| format!("{LIST} cannot be written: {error}"))?;
    println!("{LIST}: {} parts", list.lines().count() - 1);
    Ok(())
}

fn list() -> Result<String, String> {
    let lock = root().join("ui/package-lock.json");
    let lock = fs::read_to_string(lock).map_err(|error| format!("ui/package-lock.json: {error}"))?;
    let mut lines = crates(&tree()?)?;
    lines.extend(packages(&lock)?);
    lines.sort();
    lines.dedup();
    let title = "name\tversion\tlicence (made by `cargo xtask licences`)";
    Ok(format!("{title}\n{}\n", lines.join("\n")))
}

/// On one platform, so that the list is the same wherever it is made: what the package is for.
fn tree() -> Result<String, String> {
    let mut args =
        vec!["tree", "--locked", "--offline", "--edges", "normal,no-proc-macro", "--prefix", "none"];
    args.extend(["--target", "x86_64-unknown-linux-gnu", "--format", "{p}\t{l}"]);
    args.extend(PROGRAMS.iter().flat_map(|program| ["-p", program]));
    let output = cargo(&args).output().map_err(|error| format!("cargo tree cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lines as `serde v1.0.228\tMIT OR Apache-2.0`, ours with a folder in brackets, one seen before with a star.
fn crates(tree: &str) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let line = line.strip_suffix(" (*)").unwrap_or(line);
        let (crate_, licence) = line.split_once('\t').ok_or_else(|| format!("cargo tree says \"{line}\""))?;
        if crate_.contains(" (") {
            continue;
        }
        let (name, version) =
            crate_.split_once(" v").ok_or_else(|| format!("cargo tree names a crate \"{crate_}\""))?;
        if licence.is_empty() {
            return Err(format!("{name} {version} names no licence"));
        }
        // An older way of writing "or".
        lines.push(format!("{name}\t{version}\t{}", licence.replace('/', " OR ")));
    }
    Ok(lines)
}

/// The lock file is written by npm, a field a line.
fn packages(lock: &str) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    let entries = lock.split("\n    \"node_modules/").skip(1);
    for entry in entries {
        let entry = entry.split("\n    }").next().unwrap_or_default();
        let name = entry.split('"').next().unwrap_or_default();
        let field = |field: &str| {
            let start = format!("      \"{field}\": ");
            let value = entry.lines().find_map(|line| line.strip_prefix(&start))?;
            Some(value.trim_end_matches(',').trim_matches('"'))
        };
        let only_builds = field("dev") == Some("true") || field("optional") == Some("true");
        if only_builds && !LEFT_IN_PAGE.contains(&name) {
            continue;
        }
        match (field("version"), field("license")) {
            (Some(version), Some(licence)) => lines.push(format!("{name}\t{version}\t{licence}")),
            _ => return Err(format!("ui/package-lock.json names no version or no licence of {name}")),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_list_is_that_of_the_lock_files() {
        let committed = fs::read_to_string(root().join(LIST)).unwrap_or_default();
        // A checkout on Windows may have turned the line ends.
        let is_new = list().unwrap() == committed.replace("\r\n", "\n");
        assert!(is_new, "{LIST} is out of date; run `cargo xtask licences` and commit");
    }

    #[test]
    fn a_crate_without_a_licence_is_told_and_ours_are_left_out() {
        let tree =
            "nightjar-cli v0.1.0 (/src/crates/cli)\tMIT OR Apache-2.0\nserde v1.0.1\tMIT/Apache-2.0 (*)\n\n";
        assert_eq!(crates(tree), Ok(vec!["serde\t1.0.1\tMIT OR Apache-2.0".to_owned()]));
        assert!(crates("odd v0.1.0\t").unwrap_err().contains("odd 0.1.0"));
    }

    #[test]
    fn of_the_page_what_only_builds_it_is_left_out() {
        let lock = "{\n  \"packages\": {\n    \"\": {\n      \"name\": \"ui\"\n    },\n    \"node_modules/a\": {\n      \
                    \"version\": \"1.0.0\",\n      \"license\": \"MIT\"\n    },\n    \"node_modules/b\": {\n      \
                    \"version\": \"2.0.0\",\n      \"dev\": true,\n      \"license\": \"ISC\"\n    },\n    \
                    \"node_modules/svelte\": {\n      \"version\": \"5.0.0\",\n      \"dev\": true,\n      \
                    \"license\": \"MIT\"\n    }\n  }\n}\n";
        assert_eq!(packages(lock).unwrap(), ["a\t1.0.0\tMIT", "svelte\t5.0.0\tMIT"]);
        assert!(packages("\n    \"node_modules/c\": {\n      \"version\": \"1\"\n    }").is_err());
    }
}
