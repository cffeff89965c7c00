//! What can be rented on this host, and which domains a tenant may reach: the lists in `images/`.

use std::collections::{HashMap, HashSet};

use iroh_base::{PublicKey, Signature};
use nightjar_core::images::TaskKind;
use nightjar_core::policy::GatewayImage;
use serde::Deserialize;

const VERSION: u32 = 1;
const LONGEST_FILE: usize = 256 * 1024;
const MOST_IMAGES: usize = 256;
const MOST_DOMAINS: usize = 1_000;
const MOST_PORTS: usize = 16;
const MOST_ARGUMENTS: usize = 16;
const LONGEST_NAME: usize = 64;
/// Of references, titles, descriptions, licences and arguments.
const LONGEST_TEXT: usize = 512;

/// The gateway's image among those that are pulled. No image that can be rented has a name without a flavour.
pub const GATEWAY: &str = "gateway";

/// An image as far as it is fetched and found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// E.g. `pytorch-cuda:full`, or [`GATEWAY`].
    pub key: String,
    /// As the Engine knows it.
    pub reference: String,
    /// `sha256:…`; only exactly that image is taken for this one. None where it is made on the machine itself.
    pub digest: Option<String>,
    pub size_mib: u64,
}

impl Source {
    /// What a container of it is made from: the digest where there is one, so that a name that was moved is of no use.
    #[must_use]
    pub fn pinned_reference(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", repository(&self.reference)),
            None => self.reference.clone(),
        }
    }

    /// Given the names and ids of all that the Engine has, and by digest the ids of those that were pulled.
    fn is_among(&self, names: &HashSet<&str>, pulled: &HashMap<String, String>) -> bool {
        let id = self.digest.as_ref().and_then(|digest| pulled.get(digest));
        names.contains(self.pinned_reference().as_str()) || id.is_some_and(|id| names.contains(id.as_str()))
    }
}

/// One image that can be rented.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub name: String,
    pub flavour: String,
    /// As the Engine knows it.
    pub reference: String,
    /// Made on the machine itself: it has no digest that everybody could know.
    #[serde(default)]
    pub built_here: bool,
    /// `sha256:…`; only exactly that image is taken for this one.
    pub digest: Option<String>,
    pub title: String,
    /// A sentence for whoever chooses.
    pub description: String,
    #[serde(default)]
    pub torch: bool,
    /// CUDA that the image brings, e.g. `12.8`.
    pub cuda: Option<String>,
    pub size_mib: u64,
    /// Oldest driver that serves it, e.g. `525`.
    pub min_driver: String,
    /// E.g. `7.5`.
    pub min_compute_capability: String,
    pub min_vram_mib: u64,
    /// Which the tunnel reaches.
    pub ports: Vec<u16>,
    pub licence: String,
    /// What it is good for; never empty.
    pub task_kinds: Vec<TaskKind>,
    /// Program and arguments of the check through the driver.
    pub self_check: Vec<String>,
    /// The same of the framework's own check, where the image has a framework.
    pub framework_check: Option<Vec<String>>,
}

impl Image {
    /// As offers and leases name it, e.g. `pytorch-cuda:lite`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.name, self.flavour)
    }

    #[must_use]
    pub fn source(&self) -> Source {
        Source {
            key: self.key(),
            reference: self.reference.clone(),
            digest: self.digest.clone(),
            size_mib: self.size_mib,
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let key = self.key();
        anyhow::ensure!(
            is_name(&self.name) && is_name(&self.flavour),
            "{key}: name or flavour is no plain word"
        );
        check_reference(&self.reference)?;
        match &self.digest {
            Some(digest) => anyhow::ensure!(is_digest(digest), "{key}: {digest} is no digest"),
            None => {
                anyhow::ensure!(self.built_here, "{key}: an image that is not made here needs its digest")
            }
        }
        for text in [&self.title, &self.description, &self.licence] {
            anyhow::ensure!(
                !text.is_empty() && text.len() <= LONGEST_TEXT,
                "{key}: a text is empty or too long"
            );
        }
        let dotted = |text: &str| !text.is_empty() && text.split('.').all(|part| part.parse::<u16>().is_ok());
        anyhow::ensure!(dotted(&self.min_driver), "{key}: min_driver is no version");
        anyhow::ensure!(dotted(&self.min_compute_capability), "{key}: min_compute_capability is no version");
        anyhow::ensure!(self.cuda.as_deref().is_none_or(dotted), "{key}: cuda is no version");
        anyhow::ensure!(
            (1..=MOST_PORTS).contains(&self.ports.len()) && !self.ports.contains(&0),
            "{key}: 1 to {MOST_PORTS} ports are wanted"
        );
        anyhow::ensure!(!self.task_kinds.is_empty(), "{key}: task_kinds says nothing");
        for command in [Some(&self.self_check), self.framework_check.as_ref()].into_iter().flatten() {
            let plain = |text: &String| !text.is_empty() && text.len() <= LONGEST_TEXT;
            let fits = (1..=MOST_ARGUMENTS).contains(&command.len()) && command.iter().all(plain);
            anyhow::ensure!(fits, "{key}: a check is no program with arguments");
        }
        anyhow::ensure!(!self.torch || self.framework_check.is_some(), "{key}: PyTorch is not checked");
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gateway {
    reference: String,
    /// Without one it is made on the machine itself.
    digest: Option<String>,
    licence: String,
    size_mib: u64,
}

/// The image that every job runs behind.
#[derive(Clone, Debug)]
pub struct GatewayEntry {
    pub source: Source,
    pub licence: String,
}

impl Gateway {
    fn checked(self) -> anyhow::Result<GatewayEntry> {
        let Self { reference, digest, licence, size_mib } = self;
        check_reference(&reference)?;
        if let Some(digest) = &digest {
            anyhow::ensure!(is_digest(digest), "the gateway: {digest} is no digest");
        }
        let fits = !licence.is_empty() && licence.len() <= LONGEST_TEXT;
        anyhow::ensure!(fits, "the gateway: its licence is empty or too long");
        Ok(GatewayEntry { source: Source { key: GATEWAY.to_owned(), reference, digest, size_mib }, licence })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    gateway: Option<Gateway>,
    image: Vec<Image>,
}

/// All images that can be rented, and the gateway's.
#[derive(Clone, Debug)]
pub struct Catalogue {
    gateway: GatewayEntry,
    images: Vec<Image>,
}

impl Catalogue {
    /// The catalogue that this program ships with.
    ///
    /// # Errors
    /// When the shipped file does not pass its checks, which a test rules out.
    pub fn shipped() -> anyhow::Result<Self> {
        let text = include_str!("../../../images/catalog.toml");
        let signature = include_str!("../../../images/catalog.toml.sig");
        check_signature(text, signature, include_str!("../../../images/catalog.pub"))?;
        Self::parse(text)
    }

    /// With the images of another catalogue: `signature` is that of `text`, by `key`, both in hexadecimal. It may say in
    /// which registry the gateway lies as long as the program's own catalogue does not.
    ///
    /// # Errors
    /// When the signature is not right, what is wrong with the file, or which image is in both.
    pub fn with_own(mut self, text: &str, signature: &str, key: &str) -> anyhow::Result<Self> {
        check_signature(text, signature, key)?;
        let own = read(text)?;
        if let Some(gateway) = own.gateway {
            let ours = &self.gateway.source;
            anyhow::ensure!(ours.digest.is_none(), "the gateway is the program's own: take [gateway] out");
            anyhow::ensure!(
                gateway.digest.is_some(),
                "a [gateway] of one's own needs a digest: the program's own, {}, is made on the PC already",
                ours.reference
            );
            self.gateway = gateway.checked()?;
        }
        self.images.extend(own.image);
        check_images(&self.images)?;
        Ok(self)
    }

    /// # Errors
    /// What is wrong with the file, and with which image.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let file = read(text)?;
        let gateway =
            file.gateway.ok_or_else(|| anyhow::anyhow!("the catalogue names no gateway"))?.checked()?;
        check_images(&file.image)?;
        Ok(Self { gateway, images: file.image })
    }

    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The image that offers and leases name so.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.key() == key)
    }

    /// The image that every job runs behind.
    #[must_use]
    pub fn gateway(&self) -> &GatewayEntry {
        &self.gateway
    }

    /// What can be pulled under this name, or is made on the machine itself.
    #[must_use]
    pub fn source(&self, key: &str) -> Option<Source> {
        if key == GATEWAY {
            return Some(self.gateway.source.clone());
        }
        self.find(key).map(Image::source)
    }

    /// Which images can be rented now, given the names (`name:tag`, `name@digest`) and ids of all that the Engine has, and
    /// by digest the ids of those that were pulled; and how the gateway's stands, without which none can.
    #[must_use]
    pub fn present_among(
        &self,
        names: &[String],
        pulled: &HashMap<String, String>,
    ) -> (Vec<String>, GatewayImage) {
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
        let gateway = &self.gateway.source;
        if !gateway.is_among(&names, pulled) {
            let reference = gateway.reference.clone();
            let is_in_registry = gateway.digest.is_some();
            let standing =
                if is_in_registry { GatewayImage::Coming } else { GatewayImage::Missing { reference } };
            return (Vec::new(), standing);
        }
        let here = self.images.iter().filter(|image| image.source().is_among(&names, pulled));
        (here.map(Image::key).collect(), GatewayImage::Present)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(rename = "name")]
    _name: String,
    domains: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EgressFile {
    version: u32,
    group: Vec<Group>,
}

/// Domains that a tenant reaches in the egress mode `curated`.
#[derive(Clone, Debug)]
pub struct Egress {
    domains: Vec<String>,
}

impl Egress {
    /// The list that this program ships with.
    ///
    /// # Errors
    /// When the shipped file does not pass its checks, which a test rules out.
    pub fn shipped() -> anyhow::Result<Self> {
        Self::parse(include_str!("../../../images/egress.toml"))
    }

    /// # Errors
    /// What is wrong with the file, and with which domain.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(
            text.len() <= LONGEST_FILE,
            "the list of domains is longer than {LONGEST_FILE} bytes"
        );
        let file: EgressFile = toml::from_str(text)?;
        anyhow::ensure!(file.version == VERSION, "the list of domains is of version {}", file.version);
        let domains: Vec<String> = file.group.into_iter().flat_map(|group| group.domains).collect();
        anyhow::ensure!(domains.len() <= MOST_DOMAINS, "the list has more than {MOST_DOMAINS} domains");
        for domain in &domains {
            anyhow::ensure!(is_domain(domain), "{domain} is no domain name in small letters");
        }
        Ok(Self { domains })
    }

    /// Each with all below it.
    #[must_use]
    pub fn domains(&self) -> &[String] {
        &self.domains
    }
}

/// Whoever changes a catalogue on its way to a host decides what runs there.
fn check_signature(text: &str, signature: &str, key: &str) -> anyhow::Result<()> {
    let key = bytes_of::<32>(key).and_then(|bytes| PublicKey::from_bytes(&bytes).ok());
    let key = key.ok_or_else(|| anyhow::anyhow!("the catalogue's key is no ed25519 key in hexadecimal"))?;
    let signature = bytes_of::<64>(signature)
        .ok_or_else(|| anyhow::anyhow!("the catalogue's signature is no ed25519 signature in hexadecimal"))?;
    key.verify(text.as_bytes(), &Signature::from_bytes(&signature)).map_err(|_| {
        anyhow::anyhow!(
            "the catalogue was not signed with this key, or was changed since; take it from its source again, or sign it \
             with `cargo xtask catalogue`"
        )
    })
}

fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex::decode(text.trim()).ok()?.try_into().ok()
}

fn read(text: &str) -> anyhow::Result<File> {
    anyhow::ensure!(text.len() <= LONGEST_FILE, "the catalogue is longer than {LONGEST_FILE} bytes");
    let file: File = toml::from_str(text)?;
    anyhow::ensure!(file.version == VERSION, "the catalogue is of version {}, not {VERSION}", file.version);
    Ok(file)
}

fn check_images(images: &[Image]) -> anyhow::Result<()> {
    anyhow::ensure!(images.len() <= MOST_IMAGES, "the catalogue has more than {MOST_IMAGES} images");
    let mut keys = HashSet::new();
    for image in images {
        image.check()?;
        anyhow::ensure!(keys.insert(image.key()), "{} is there twice", image.key());
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(plain)
}

pub(crate) fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(label)
}

/// `repository:tag`, in the letters that references are made of.
fn check_reference(text: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_./:".contains(c);
    let tagged = text.rsplit('/').next().is_some_and(|last| last.contains(':'));
    anyhow::ensure!(
        text.len() <= LONGEST_TEXT && text.chars().all(plain) && tagged,
        "{text} is no reference with a tag"
    );
    Ok(())
}

/// A reference without its tag. A colon before the last slash belongs to a registry's port.
fn repository(reference: &str) -> &str {
    let name = reference.rfind('/').map_or(0, |slash| slash + 1);
    reference[name..].find(':').map_or(reference, |colon| &reference[..name + colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_digest() -> Catalogue {
        let digest = format!("digest = \"sha256:{}\"", "a".repeat(64));
        let text = include_str!("../../../images/catalog.toml").replacen("built_here = true", &digest, 1);
        Catalogue::parse(&text).unwrap()
    }

    #[test]
    fn what_is_shipped_passes_and_holds_both_flavours() {
        let catalogue = Catalogue::shipped().unwrap();
        for key in ["pytorch-cuda:full", "pytorch-cuda:lite"] {
            let image = catalogue.find(key).unwrap();
            assert_eq!(image.torch, image.framework_check.is_some(), "{key}");
        }
        assert!(catalogue.find("pytorch-cuda").is_none());
        let egress = Egress::shipped().unwrap();
        // Indexes, where they keep what they list, and the installers that renters are told of.
        for needed in
            ["pypi.org", "download.pytorch.org", "download-r2.pytorch.org", "astral.sh", "micro.mamba.pm"]
        {
            assert!(egress.domains().iter().any(|domain| domain == needed), "{needed}");
        }
    }

    #[test]
    fn an_image_counts_only_beside_the_gateway_and_by_its_digest() {
        let catalogue = with_digest();
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let none = HashMap::new();
        let here =
            |list: &[&str], pulled: &HashMap<String, String>| catalogue.present_among(&names(list), pulled).0;
        let lite = "nightjar/pytorch-cuda:lite";
        let gateway = catalogue.gateway().source.reference.clone();
        let missing = GatewayImage::Missing { reference: gateway.clone() };
        assert_eq!(catalogue.present_among(&names(&[lite]), &none), (vec![], missing));
        let both = (names(&["pytorch-cuda:lite"]), GatewayImage::Present);
        assert_eq!(catalogue.present_among(&names(&[lite, &gateway]), &none), both);
        assert!(here(&["nightjar/pytorch-cuda:full", &gateway], &none).is_empty());
        let pinned = format!("nightjar/pytorch-cuda@sha256:{}", "a".repeat(64));
        assert_eq!(here(&[&pinned, &gateway], &none), ["pytorch-cuda:full"]);
        // One that was pulled has no name of its registry, but an id that was checked.
        let pulled = HashMap::from([(format!("sha256:{}", "a".repeat(64)), "sha256:1".to_owned())]);
        assert!(here(&["sha256:2", &gateway], &pulled).is_empty());
        assert_eq!(here(&["sha256:1", &gateway], &pulled), ["pytorch-cuda:full"]);
        assert_eq!(catalogue.source("pytorch-cuda:full").unwrap().pinned_reference(), pinned);
    }

    #[test]
    fn a_gateway_in_a_registry_counts_by_its_digest_alone() {
        let digest = format!("sha256:{}", "c".repeat(64));
        let entry = "reference = \"nightjar/gateway:dev\"";
        let shipped = include_str!("../../../images/catalog.toml");
        let text = shipped.replacen(entry, &format!("{entry}\ndigest = \"{digest}\""), 1);
        let catalogue = Catalogue::parse(&text).unwrap();
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let lite = "nightjar/pytorch-cuda:lite";
        let pulled = HashMap::from([(digest.clone(), "sha256:1".to_owned())]);
        let moved = names(&[lite, "nightjar/gateway:dev"]);
        assert_eq!(catalogue.present_among(&moved, &pulled), (vec![], GatewayImage::Coming));
        let there = (names(&["pytorch-cuda:lite"]), GatewayImage::Present);
        assert_eq!(catalogue.present_among(&names(&[lite, "sha256:1"]), &pulled), there);
        let pinned = format!("nightjar/gateway@{digest}");
        assert_eq!(catalogue.source(GATEWAY).unwrap().pinned_reference(), pinned);
        assert_eq!(catalogue.present_among(&names(&[lite, &pinned]), &HashMap::new()), there);
        let spoilt = text.replace(&digest, "sha256:12");
        assert!(Catalogue::parse(&spoilt).unwrap_err().to_string().contains("no digest"));
    }

    #[test]
    fn a_broken_catalogue_is_refused_with_what_is_wrong() {
        let shipped = include_str!("../../../images/catalog.toml");
        for (from, to, says) in [
            ("built_here = true", "", "needs its digest"),
            ("built_here = true", "digest = \"sha256:12\"", "no digest"),
            ("flavour = \"lite\"", "flavour = \"full\"", "twice"),
            ("min_driver = \"525\"", "min_driver = \"new\"", "min_driver"),
            ("name = \"pytorch-cuda\"", "name = \"a b\"", "plain word"),
            ("nightjar/gateway:dev", "nightjar/gateway", "no reference"),
            ("version = 1", "version = 2", "version 2"),
            ("task_kinds = [", "task_kinds = []\n# [", "task_kinds"),
            ("\"interactive\"", "\"mining\"", "mining"),
            ("ports = [22, 8888]", "ports = [22, 0]", "ports"),
            ("torch = true", "torch = true\ncolour = 1", "colour"),
        ] {
            let error = Catalogue::parse(&shipped.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(says), "{from} -> {to}: {error}");
        }
        assert!(Catalogue::parse(&" ".repeat(LONGEST_FILE + 1)).is_err());
        for domain in ["*.example.org", "Example.org", "localhost", "a..b", "-a.org", "a.org/", "a.org\\n"] {
            let text = format!("version = 1\n[[group]]\nname = \"x\"\ndomains = [\"{domain}\"]");
            assert!(Egress::parse(&text).is_err(), "{domain}");
        }
    }

    #[test]
    fn a_catalogue_counts_only_with_its_signature() {
        let key = iroh_base::SecretKey::from_bytes(&[7; 32]);
        let digest = format!("digest = \"sha256:{}\"", "b".repeat(64));
        let shipped = include_str!("../../../images/catalog.toml");
        let image = shipped.split("[[image]]").nth(1).unwrap().replace("built_here = true", &digest);
        let own = format!("version = 1\n[[image]]{}", image.replace("\"pytorch-cuda\"", "\"mine\""));
        let hex_of = |bytes: &[u8]| hex::encode(bytes);
        let (public, signature) =
            (hex_of(key.public().as_bytes()), hex_of(&key.sign(own.as_bytes()).to_bytes()));
        let with = |text: &str, signature: &str, key: &str| {
            Catalogue::shipped().unwrap().with_own(text, signature, key).map_err(|error| error.to_string())
        };
        let both = with(&own, &signature, &public).unwrap();
        assert!(both.find("mine:full").is_some() && both.find("pytorch-cuda:lite").is_some());
        let changed = own.replace("min_vram_mib = 2_048", "min_vram_mib = 1");
        assert_ne!(changed, own);
        assert!(with(&changed, &signature, &public).unwrap_err().contains("was changed since"));
        let other = hex_of(iroh_base::SecretKey::from_bytes(&[8; 32]).public().as_bytes());
        assert!(with(&own, &signature, &other).unwrap_err().contains("not signed with this key"));
        for (signature, key, says) in [("", public.as_str(), "signature"), (&signature, "12", "key")] {
            assert!(with(&own, signature, key).unwrap_err().contains(says));
        }
        let gateway = |digest: &str| {
            let entry = "[gateway]\nreference = \"r.example/g:1\"\nlicence = \"MIT\"\nsize_mib = 200\n";
            let text = format!("version = 1\nimage = []\n{entry}{digest}");
            (hex_of(&key.sign(text.as_bytes()).to_bytes()), text)
        };
        let (signature, text) = gateway(&digest);
        let with_gateway = with(&text, &signature, &public).unwrap();
        let pinned = with_gateway.gateway().source.pinned_reference();
        assert_eq!(pinned, format!("r.example/g@sha256:{}", "b".repeat(64)));
        // Once the program says itself which one it is, nobody else does.
        let again = with_gateway.with_own(&text, &signature, &public).unwrap_err().to_string();
        assert!(again.contains("the program's own"), "{again}");
        let (signature, text) = gateway("");
        assert!(with(&text, &signature, &public).unwrap_err().contains("needs a digest"));
        let twice = format!("version = 1\n[[image]]{image}");
        let signature = hex_of(&key.sign(twice.as_bytes()).to_bytes());
        assert!(with(&twice, &signature, &public).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_tag_is_told_from_a_port() {
        assert_eq!(repository("nightjar/gateway:dev"), "nightjar/gateway");
        assert_eq!(repository("localhost:5000/nightjar/gateway:dev"), "localhost:5000/nightjar/gateway");
        assert_eq!(repository("gateway"), "gateway");
    }
}
