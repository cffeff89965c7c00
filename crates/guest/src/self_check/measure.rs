//! What the card and the volume do in a second, and whether the card's memory is all there.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use nightjar_core::sweep::WorkKind;

use crate::driver::{Buffer, Context, Failure};
use crate::load::Load;
use crate::shared_folder;

const MIB: usize = 1024 * 1024;
/// Copied in each direction.
const COPY_MIB: usize = 64;
const COPIES: usize = 3;
/// Taken at a time; what is left of the last is not looked at.
const CHUNK_MIB: usize = 256;
/// Left to the driver and the desktop.
const LEFT_MIB: usize = 512;
/// A mark to each page of a card's memory: a lease begins only after the last was read.
const MARK_EACH_MIB: usize = 2;
const MARK_BYTES: usize = 64;
const VOLUME: &str = "/workspace";
const CHECK_FILE: &str = ".nightjar-check";
const DISK_MIB: usize = 32;
/// Of what is free on a small volume.
const DISK_PART: u64 = 4;

/// In operations of 10^9 a second for the one kind, MiB a second for the other.
pub fn rate(context: &Context<'_>, kind: WorkKind) -> Result<u64, Failure> {
    let load = Load::new(context, kind)?;
    let (rounds, took) = load.rounds()?;
    Ok(match kind {
        WorkKind::Compute => per_second(load.operations(rounds), took) / 1_000_000_000,
        WorkKind::Memory => per_second(load.bytes(rounds), took) / MIB as u64,
    })
}

/// MiB a second to the card and from it, the best of a few.
pub fn copies(context: &Context<'_>) -> Result<(u64, u64), Failure> {
    let buffer = context.allocate(COPY_MIB * MIB)?;
    let mut bytes = vec![0x5a_u8; COPY_MIB * MIB];
    let (mut to, mut from) = (0, 0);
    for _ in 0..COPIES {
        to = to.max(mib_per_second(COPY_MIB, || buffer.write(&bytes))?);
        from = from.max(mib_per_second(COPY_MIB, || buffer.read(&mut bytes))?);
    }
    Ok((to, from))
}

/// Takes nearly all that is free, writes a mark of its own into each page, and only then looks for all of them: memory
/// that is there twice, as in a card that says it has more than it has, shows the later mark in the earlier place.
pub fn memory(context: &Context<'_>, seed: u64) -> Result<u64, Failure> {
    let (free, _) = context.memory()?;
    let chunks = (free / MIB).saturating_sub(LEFT_MIB) / CHUNK_MIB;
    let mut taken: Vec<Buffer<'_, '_>> = Vec::new();
    for _ in 0..chunks {
        // Another program may have taken some of it meanwhile.
        match context.allocate(CHUNK_MIB * MIB) {
            Ok(buffer) => taken.push(buffer),
            Err(_) => break,
        }
    }
    for (index, buffer) in taken.iter().enumerate() {
        for mib in (0..CHUNK_MIB).step_by(MARK_EACH_MIB) {
            buffer.write_at(mib * MIB, &mark(seed, index * CHUNK_MIB + mib))?;
        }
    }
    for (index, buffer) in taken.iter().enumerate() {
        for mib in (0..CHUNK_MIB).step_by(MARK_EACH_MIB) {
            let mut found = [0; MARK_BYTES];
            buffer.read_at(mib * MIB, &mut found)?;
            let place = index * CHUNK_MIB + mib;
            if found != mark(seed, place) {
                return Err(Failure::own(format!(
                    "memory of the card is not what it says: what was written to MiB {place} is not there"
                )));
            }
        }
    }
    Ok((taken.len() * CHUNK_MIB) as u64)
}

fn mark(seed: u64, place: usize) -> [u8; MARK_BYTES] {
    let word = (seed ^ (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes();
    let mut mark = [0; MARK_BYTES];
    for (index, byte) in mark.iter_mut().enumerate() {
        *byte = word[index % word.len()];
    }
    mark
}

/// MiB a second that reach the renter's volume; 0 where there is none to write to.
pub fn disk() -> u64 {
    written_to(Path::new(VOLUME))
}

/// What lies there is the renter's, who may have left anything at any name.
fn written_to(volume: &Path) -> u64 {
    let path = volume.join(CHECK_FILE);
    let free = rustix::fs::statvfs(volume).map_or(0, |about| about.f_bavail * about.f_frsize / MIB as u64);
    let mib = DISK_MIB.min(usize::try_from(free / DISK_PART).unwrap_or(0));
    let write = || -> std::io::Result<()> {
        let mut file = shared_folder::create(&path)?;
        // Not zeros, which a file system may leave out.
        let block: Vec<u8> = (0..MIB).map(|index| (index * 31 % 251) as u8).collect();
        for _ in 0..mib {
            file.write_all(&block)?;
        }
        file.sync_data()
    };
    let began = Instant::now();
    let written = write();
    let took = began.elapsed();
    let _ = fs::remove_file(&path);
    if written.is_ok() { per_second(mib as f64, took) } else { 0 }
}

fn mib_per_second(mib: usize, work: impl FnOnce() -> Result<(), Failure>) -> Result<u64, Failure> {
    let began = Instant::now();
    work()?;
    Ok(per_second(mib as f64, began.elapsed()))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, and never below zero")]
fn per_second(amount: f64, took: Duration) -> u64 {
    (amount / took.as_secs_f64().max(1e-9)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_folder::tests::{in_time, put_pipe};

    #[test]
    fn a_pipe_in_a_renters_volume_holds_up_no_check() {
        let folder = std::env::temp_dir().join(format!("nightjar-guest-check-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        put_pipe(&folder.join(CHECK_FILE));
        let volume = folder.clone();
        // How fast, is this machine's business.
        in_time(move || written_to(&volume));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "something of the check is left");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn no_two_marks_are_alike() {
        let marks: std::collections::BTreeSet<_> = (0..50_000).map(|place| mark(7, place)).collect();
        assert_eq!(marks.len(), 50_000);
        assert_ne!(mark(7, 3), mark(8, 3));
    }

    #[test]
    fn rates_are_of_a_second() {
        assert_eq!(per_second(100.0, Duration::from_millis(500)), 200);
    }
}
