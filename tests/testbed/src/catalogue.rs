//! A catalogue of a host's own, signed as its operator would: by OpenSSL.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::host::{Surroundings, text};
use crate::process::output;

/// Something to list in it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its flavour is `test`.
    pub name: String,
    /// `127.0.0.1:PORT/…`, without a tag.
    pub repository: String,
    pub digest: String,
    pub size_mib: u64,
}

/// Writes and signs it, and makes it known to a host that is not started yet.
///
/// # Errors
/// When OpenSSL cannot be had or a file cannot be written.
pub fn give(around: &mut Surroundings, entries: &[Entry]) -> anyhow::Result<()> {
    give_listed(around, &entries.iter().map(listed).collect::<String>())
}

/// The same with the gateway, whose name is not listed.
///
/// # Errors
/// As for [`give`].
pub fn give_with_gateway(
    around: &mut Surroundings,
    gateway: &Entry,
    entries: &[Entry],
) -> anyhow::Result<()> {
    let Entry { repository, digest, size_mib, .. } = gateway;
    let gateway = format!(
        "[gateway]\nreference = \"{repository}:test\"\ndigest = \"{digest}\"\nlicence = \"none\"\nsize_mib = \
         {size_mib}\n"
    );
    give_listed(around, &entries.iter().map(listed).fold(gateway, |all, one| all + &one))
}

fn give_listed(around: &mut Surroundings, listed: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(&around.folder)?;
    let path = around.folder.join("own-catalogue.toml");
    let key = write_listed(&path, listed)?;
    around.environment.push(("NIGHTJAR_CATALOGUE".into(), text(&path)));
    around.environment.push(("NIGHTJAR_CATALOGUE_KEY".into(), key));
    Ok(())
}

/// Writes and signs it. Gives the public key in hexadecimal.
///
/// # Errors
/// As for [`give`].
pub fn write(path: &Path, entries: &[Entry]) -> anyhow::Result<String> {
    write_listed(path, &entries.iter().map(listed).collect::<String>())
}

fn write_listed(path: &Path, listed: &str) -> anyhow::Result<String> {
    std::fs::write(path, format!("version = 1\n{listed}"))?;
    sign(path)
}

/// With a key of its own, into a file of its name with `.sig` after it.
fn sign(path: &Path) -> anyhow::Result<String> {
    let beside = |ending: &str| path.with_extension(ending);
    let (secret, public, signature) = (beside("pem"), beside("der"), beside("bin"));
    let openssl = |args: &[&str], out: &Path| -> anyhow::Result<Vec<u8>> {
        let mut command = Command::new("openssl");
        output(command.args(args).arg("-out").arg(out)).context("is the package openssl installed?")?;
        Ok(std::fs::read(out)?)
    };
    openssl(&["genpkey", "-algorithm", "ed25519"], &secret)?;
    let (key_file, file) = (text(&secret), text(path));
    let public = openssl(&["pkey", "-in", &key_file, "-pubout", "-outform", "DER"], &public)?;
    let signed = openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", &key_file, "-in", &file], &signature)?;
    std::fs::write(beside("toml.sig"), hex::encode(signed))?;
    // What stands before it says that it is one of ed25519.
    let key = public.len().checked_sub(32).map(|at| &public[at..]).context("the key is too short")?;
    Ok(hex::encode(key))
}

fn listed(entry: &Entry) -> String {
    let Entry { name, repository, digest, size_mib } = entry;
    format!(
        r#"
[[image]]
name = "{name}"
flavour = "test"
reference = "{repository}:test"
digest = "{digest}"
title = "An image of a test"
description = "Made for a test."
size_mib = {size_mib}
min_driver = "525"
min_compute_capability = "5.0"
min_vram_mib = 1
ports = [22]
licence = "none"
task_kinds = ["interactive"]
self_check = ["nightjar-guest", "self-check", "--json"]
"#
    )
}
