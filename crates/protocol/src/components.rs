//! What is built into Nightjar's programs and the window's page, with licences: a list that is made from the lock files
//! (`cargo xtask licences`).

use serde::{Deserialize, Serialize};
use ts_rs::TS;

const LIST: &str = include_str!("../components.tsv");

/// Somebody else's work that is part of Nightjar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Component {
    pub name: String,
    pub version: String,
    /// As an SPDX expression.
    pub licence: String,
}

/// All of them, by name.
#[must_use]
pub fn components() -> Vec<Component> {
    let lines = LIST.lines().skip(1).filter_map(|line| {
        let mut fields = line.split('\t').map(str::to_owned);
        Some(Component { name: fields.next()?, version: fields.next()?, licence: fields.next()? })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_a_part_with_a_licence() {
        let all = components();
        assert_eq!(all.len(), LIST.lines().count() - 1);
        for part in &all {
            assert!(
                ![&part.name, &part.version, &part.licence].iter().any(|text| text.is_empty()),
                "{part:?}"
            );
        }
        for wanted in ["tokio", "svelte", "uplot", "tauri"] {
            assert!(all.iter().any(|part| part.name == wanted), "{wanted}");
        }
    }
}
