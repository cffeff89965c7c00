//! What comes from outside is checked here before anything else sees it. Much of it ends on somebody's terminal or in a
//! configuration file of a worker, so control characters are refused everywhere.

use data_encoding::BASE64;
use iroh_base::{PublicKey, Signature};
use nightjar_core::lease::{EndReason, LeaseState, WorkerAccess, check_model};
use nightjar_core::market::{CardOffer, Requirements};
use nightjar_core::money::Currency;
use nightjar_core::parting::Cause;
use nightjar_protocol::market_api::VolumeSecret;

/// Longest public key line, in bytes.
const MAX_SSH_KEY_BYTES: usize = 4_096;
/// Longest name of a card, driver, region or image, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Longest cause of an end, in characters.
const MAX_CAUSE_CHARS: usize = 500;
const MAX_CARDS: usize = 64;
const MAX_IMAGES: usize = 64;
/// A million units of the currency an hour: more is a mistake, and sums of it could overflow.
const MAX_PRICE_MICROS: i64 = 1_000_000_000_000;

const SSH_KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// What is wrong, for the one who sent it.
pub(crate) type Objection = String;

/// Printable, not empty, at most `most` bytes.
fn plain(what: &str, text: &str, most: usize) -> Result<(), Objection> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(format!("{what} must be 1 to {most} bytes long without control characters"));
    }
    Ok(())
}

/// One line of OpenSSH's public key format, without options: `type base64 [comment]`.
pub(crate) fn ssh_public_key(line: &str) -> Result<(), Objection> {
    plain("ssh_public_key", line, MAX_SSH_KEY_BYTES)?;
    let mut parts = line.splitn(3, ' ');
    let (Some(kind), Some(blob)) = (parts.next(), parts.next()) else {
        return Err("ssh_public_key must be one line \"type base64 comment\", as in a .pub file".to_owned());
    };
    if !SSH_KEY_TYPES.contains(&kind) {
        return Err(format!("ssh_public_key must begin with one of {}", SSH_KEY_TYPES.join(", ")));
    }
    let bytes =
        BASE64.decode(blob.as_bytes()).map_err(|_| "ssh_public_key holds no valid base64".to_owned())?;
    let named = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        rest.split_at_checked(length)
    });
    match named {
        Some((name, key)) if name == kind.as_bytes() && key.len() >= 32 => Ok(()),
        _ => Err(format!("ssh_public_key is not a whole {kind} key")),
    }
}

/// 64 hexadecimal digits that are a point of ed25519.
pub(crate) fn public_key(what: &str, text: &str) -> Result<PublicKey, Objection> {
    let wrong = || format!("{what} must be an ed25519 public key as 64 hexadecimal digits");
    let mut bytes = [0_u8; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| wrong())?;
    PublicKey::from_bytes(&bytes).map_err(|_| wrong())
}

/// 128 hexadecimal digits.
pub(crate) fn volume_secret(secret: &VolumeSecret) -> Result<(), Objection> {
    let is_one = secret.0.len() == 128 && secret.0.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then_some(()).ok_or_else(|| "volume_secret must be 128 hexadecimal digits".to_owned())
}

/// Whether `signature` (128 hexadecimal digits) is `key`'s over `message`.
pub(crate) fn is_signed(key: &PublicKey, message: &[u8], signature: &str) -> bool {
    let mut bytes = [0_u8; 64];
    hex::decode_to_slice(signature, &mut bytes).is_ok()
        && key.verify(message, &Signature::from_bytes(&bytes)).is_ok()
}

pub(crate) fn image(name: &str) -> Result<(), Objection> {
    plain("image", name, MAX_NAME_BYTES)
}

pub(crate) fn requirements(wanted: &Requirements, currency: Currency) -> Result<(), Objection> {
    for (what, text) in [("model", &wanted.model), ("region", &wanted.region), ("image", &wanted.image)] {
        if let Some(text) = text {
            plain(what, text, MAX_NAME_BYTES)?;
        }
    }
    wanted.serve_model.as_deref().map_or(Ok(()), check_model)?;
    match wanted.max_price_per_hour {
        Some(most) if most.currency != currency => {
            Err(format!("max_price_per_hour is in {}; this market keeps {currency}", most.currency))
        }
        Some(most) if most.micros < 0 => Err("max_price_per_hour must not be below zero".to_owned()),
        _ => Ok(()),
    }
}

pub(crate) fn offers(region: &str, offers: &[CardOffer], currency: Currency) -> Result<(), Objection> {
    // A host may leave its region out.
    if !region.is_empty() {
        plain("region", region, MAX_NAME_BYTES)?;
    }
    if offers.len() > MAX_CARDS {
        return Err(format!("a host offers at most {MAX_CARDS} cards"));
    }
    for (index, offer) in offers.iter().enumerate() {
        plain("gpu", &offer.gpu.0, MAX_NAME_BYTES)?;
        plain("model", &offer.model, MAX_NAME_BYTES)?;
        plain("driver", &offer.driver, MAX_NAME_BYTES)?;
        if offer.images.len() > MAX_IMAGES {
            return Err(format!("a card is offered with at most {MAX_IMAGES} images"));
        }
        for name in &offer.images {
            image(name)?;
        }
        let price = offer.price_per_hour;
        if price.currency != currency {
            return Err(format!("a price is in {}; this market keeps {currency}", price.currency));
        }
        if !(0..=MAX_PRICE_MICROS).contains(&price.micros) {
            return Err(format!("a price must be between 0 and {} {currency}", MAX_PRICE_MICROS / 1_000_000));
        }
        if offers[..index].iter().any(|other| other.gpu == offer.gpu) {
            return Err(format!("the card {} is offered twice", offer.gpu.0));
        }
    }
    Ok(())
}

pub(crate) fn access(access: &WorkerAccess) -> Result<(), Objection> {
    ssh_public_key(&access.ssh_host_key).map_err(|wrong| format!("access: {wrong}"))?;
    plain("device_name", &access.device_name, MAX_NAME_BYTES)?;
    plain("jupyter_token", &access.jupyter_token, 256)?;
    if !access.jupyter_token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        return Err("jupyter_token may hold letters, digits, hyphens and underscores only".to_owned());
    }
    Ok(())
}

/// What a host says of a lease, with causes cut to a bound and reasons that only the market can have replaced: a host
/// cannot say that the renter stopped.
pub(crate) fn reported_state(state: LeaseState) -> LeaseState {
    match state {
        LeaseState::Ending { reason } => LeaseState::Ending { reason: reported_reason(reason) },
        LeaseState::Ended { reason } => LeaseState::Ended { reason: reported_reason(reason) },
        other => other,
    }
}

fn reported_reason(reason: EndReason) -> EndReason {
    use EndReason as R;
    match reason {
        R::SelfCheckFailed { cause } => R::SelfCheckFailed { cause: cut(&cause) },
        R::PreparationFailed { cause } => R::PreparationFailed { cause: cut(&cause) },
        R::WorkerDied { cause } => R::WorkerDied { cause: cut(&cause) },
        R::OwnerStopped | R::OwnerReturned | R::FrozenTooLong | R::HostRestarted => reason,
        R::Declined
        | R::OfferExpired
        | R::RenterStopped
        | R::BalanceExhausted
        | R::HostLost
        | R::ProofRefused { .. }
        | R::Superseded => {
            R::WorkerDied { cause: "the host ended it and named no cause of its own".to_owned() }
        }
    }
}

/// A cause that only renter or market can have is none of a host's.
pub(crate) fn reported_cause(cause: Cause) -> Cause {
    match cause {
        Cause::RenterStopped | Cause::BalanceExhausted => Cause::Trouble,
        Cause::OwnerBack
        | Cause::Game
        | Cause::ScheduleClosed
        | Cause::TooHot
        | Cause::OwnerStopped
        | Cause::HostClosing
        | Cause::VramReserve
        | Cause::DiskLimit
        | Cause::Mining
        | Cause::Trouble => cause,
    }
}

fn cut(cause: &str) -> String {
    cause.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CAUSE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_line(kind: &str, inner: &str, key_bytes: usize) -> String {
        let mut blob = u32::try_from(inner.len()).unwrap().to_be_bytes().to_vec();
        blob.extend(inner.as_bytes());
        blob.extend(vec![7; key_bytes]);
        format!("{kind} {}", BASE64.encode(&blob))
    }

    #[test]
    fn ssh_keys_are_taken_only_whole_and_without_options() {
        let good = key_line("ssh-ed25519", "ssh-ed25519", 36);
        assert_eq!(ssh_public_key(&good), Ok(()));
        assert_eq!(ssh_public_key(&format!("{good} me@home")), Ok(()));
        for wrong in [
            String::new(),
            "ssh-ed25519".to_owned(),
            format!("{good}\n{good}"),
            format!("command=\"x\" {good}"),
            key_line("ssh-dss", "ssh-dss", 36),
            key_line("ssh-rsa", "ssh-ed25519", 36),
            key_line("ssh-ed25519", "ssh-ed25519", 3),
            format!("{good} {}", "c".repeat(5_000)),
            "ssh-ed25519 !!!!".to_owned(),
        ] {
            assert!(ssh_public_key(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_cannot_speak_for_the_renter_and_causes_are_tame() {
        let said = reported_state(LeaseState::Ended { reason: EndReason::RenterStopped });
        assert!(matches!(said, LeaseState::Ended { reason: EndReason::WorkerDied { .. } }));
        let cause = format!("\u{1b}[2J{}", "x".repeat(9_999));
        let LeaseState::Ended { reason: EndReason::WorkerDied { cause } } =
            reported_state(LeaseState::Ended { reason: EndReason::WorkerDied { cause } })
        else {
            panic!("the reason changed");
        };
        assert!(cause.chars().count() == MAX_CAUSE_CHARS && !cause.contains('\u{1b}'));
    }
}
