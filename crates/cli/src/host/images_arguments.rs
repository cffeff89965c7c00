//! The command line of `nightjar images`.

use clap::{Args, Subcommand, ValueEnum};
use nightjar_core::images::TaskKind;

use crate::arguments::HostPlace;

#[derive(Debug, Subcommand)]
pub enum ImagesCommand {
    /// Show what was fetched from a registry, what is on its way, and how much disk that takes
    List(HostPlace),
    /// Fetch an image of the catalogue, while you are away
    ///
    /// It goes on where it was after a break, a restart or your return, within the limits of your line. What was used
    /// longest ago makes room.
    #[command(after_help = "Example:\n  nightjar images pull llm-inference:full")]
    Pull(OneImage),
    /// Remove an image that was fetched, or stop fetching it
    Free(OneImage),
    /// Show or choose how much disk images from a registry may take, in GiB
    Quota(Quota),
    /// Show or choose which kinds of work you lend your card to
    ///
    /// An image is offered to renters when it is good for one of them.
    #[command(after_help = "\
Examples:
  nightjar images kinds
  nightjar images kinds --allow inference --allow training
  nightjar images kinds --refuse interactive")]
    Kinds(Kinds),
    /// Show or choose which images you lend your card to
    ///
    /// An image is offered when it lies on this PC, is good for a kind of work that you lend your card to (see `kinds`), and
    /// you have not refused it. A new image of the catalogue is offered only once you have fetched it. A job that runs goes
    /// on.
    #[command(after_help = "\
Examples:
  nightjar images lend
  nightjar images lend --refuse tensorflow-cuda:full
  nightjar images lend --allow tensorflow-cuda:full")]
    Lend(Lend),
}

#[derive(Debug, Args)]
pub struct OneImage {
    #[command(flatten)]
    pub place: HostPlace,
    /// As the catalogue names it, e.g. pytorch-cuda:full
    pub name: String,
}

#[derive(Debug, Args)]
pub struct Quota {
    #[command(flatten)]
    pub place: HostPlace,
    /// Show the present one when left out
    pub gib: Option<u64>,
}

#[derive(Debug, Args)]
pub struct Kinds {
    #[command(flatten)]
    pub place: HostPlace,
    /// Lend to this kind of work; may be given several times
    #[arg(long, value_name = "KIND")]
    pub allow: Vec<Kind>,
    /// No longer lend to it; may be given several times
    #[arg(long, value_name = "KIND")]
    pub refuse: Vec<Kind>,
}

#[derive(Debug, Args)]
pub struct Lend {
    #[command(flatten)]
    pub place: HostPlace,
    /// Lend to this image again; may be given several times
    #[arg(long, value_name = "IMAGE")]
    pub allow: Vec<String>,
    /// No longer lend to it, whatever it is good for; may be given several times
    #[arg(long, value_name = "IMAGE")]
    pub refuse: Vec<String>,
}

/// As it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Interactive,
    Training,
    FineTuning,
    Inference,
    Preprocessing,
}

impl From<Kind> for TaskKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Interactive => Self::Interactive,
            Kind::Training => Self::Training,
            Kind::FineTuning => Self::FineTuning,
            Kind::Inference => Self::Inference,
            Kind::Preprocessing => Self::Preprocessing,
        }
    }
}
