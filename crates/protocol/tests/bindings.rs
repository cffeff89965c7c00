//! The TypeScript types in `ui/src/bindings` are committed, so that the window builds without Rust. This fails when they
//! no longer say what the Rust types say.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

/// File name to content of every binding in `folder`, empty where the folder is not there.
fn bindings(folder: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ts"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // A checkout on Windows may have turned the line ends.
            (name, std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n"))
        })
        .collect()
}

#[test]
fn committed_bindings_are_those_of_the_rust_types() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui/src/bindings");
    let fresh = tempfile::tempdir().unwrap();
    nightjar_protocol::bindings::export(fresh.path()).unwrap();
    if std::env::var_os("NIGHTJAR_UPDATE_BINDINGS").is_some_and(|value| value == "1") {
        write(fresh.path(), &committed);
    }
    let (fresh, committed) = (bindings(fresh.path()), bindings(&committed));
    let names = fresh.keys().chain(committed.keys());
    let old: std::collections::BTreeSet<&String> =
        names.filter(|name| fresh.get(*name) != committed.get(*name)).collect();
    assert!(
        old.is_empty(),
        "ui/src/bindings is out of date in {old:?}; run `cargo xtask bindings` and commit"
    );
}

/// Replaces what is committed, so that the binding of a type that is gone goes too.
fn write(fresh: &Path, committed: &Path) {
    std::fs::create_dir_all(committed).unwrap();
    for name in bindings(committed).keys() {
        std::fs::remove_file(committed.join(name)).unwrap();
    }
    for (name, content) in bindings(fresh) {
        std::fs::write(committed.join(name), content).unwrap();
    }
}
