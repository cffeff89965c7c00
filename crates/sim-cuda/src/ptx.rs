//! As much of a GPU program as the stand-in looks at: which functions it has.

/// A loaded module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// PTX text, in which entry points can be found by name.
    Text(String),
    /// Compiled code; it is taken to have whatever function is asked for.
    Binary,
}

impl Image {
    /// PTX, if this is any.
    pub fn from_text(text: &str) -> Option<Self> {
        let is_ptx = text.contains(".version") && text.contains(".target");
        is_ptx.then(|| Image::Text(text.to_owned()))
    }

    /// Whether bytes that begin so are compiled code (a cubin or a fat binary).
    pub fn is_binary(start: [u8; 4]) -> bool {
        matches!(start, [0x7F, b'E', b'L', b'F'] | [0x50, 0xED, 0x55, 0xBA])
    }

    /// Whether there is an entry point of this name.
    pub fn has(&self, function: &str) -> bool {
        let Image::Text(text) = self else { return true };
        text.split(".entry").skip(1).any(|rest| {
            let name = rest.trim_start();
            name.strip_prefix(function)
                .is_some_and(|rest| rest.starts_with(|c: char| c == '(' || c.is_whitespace()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_their_whole_name() {
        let text = ".version 6.0\n.target sm_50\n.visible .entry spin(\n.param .u32 n) { ret; }\n.entry  walk ( ) {}";
        let image = Image::from_text(text).unwrap();
        assert!(image.has("spin") && image.has("walk"));
        assert!(!image.has("spi") && !image.has("walk2") && !image.has("n"));
    }

    #[test]
    fn other_text_is_no_module() {
        assert_eq!(Image::from_text("hello"), None);
        assert!(Image::is_binary(*b"\x7FELF") && !Image::is_binary(*b".ver"));
    }
}
