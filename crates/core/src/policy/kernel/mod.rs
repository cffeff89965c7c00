//! What the kernel under the Engine has of what a gateway is made of, and which of that no job can do without.

mod inquiry;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

pub use inquiry::{KernelAnswer, KernelInquiry, KernelQuestion};

/// Something of the kernel's that a gateway uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum KernelPart {
    /// Rules at all, and lists of networks in them.
    NfTables,
    /// What belongs to a connection that was let through.
    ConnectionTracking,
    /// Saying no, so that nobody waits for what does not come.
    Reject,
    /// At most so many connections at a time.
    ConnectionCount,
    /// At most so many new ones a second: the next best.
    Limit,
    /// What leaves is held to its rate.
    Htb,
    /// What comes in is got hold of.
    Ingress,
    /// ... and told where to go.
    U32,
    /// A queue for what comes in.
    Ifb,
    /// The way into that queue.
    Mirred,
    /// What is too much is dropped: the next best.
    Police,
    /// A queue for each connection.
    FqCodel,
}

impl KernelPart {
    pub const ALL: [Self; 12] = [
        Self::NfTables,
        Self::ConnectionTracking,
        Self::Reject,
        Self::ConnectionCount,
        Self::Limit,
        Self::Htb,
        Self::Ingress,
        Self::U32,
        Self::Ifb,
        Self::Mirred,
        Self::Police,
        Self::FqCodel,
    ];

    /// The module that brings it, where it is not part of the kernel itself.
    #[must_use]
    pub const fn module(self) -> &'static str {
        match self {
            Self::NfTables => "nf_tables",
            Self::ConnectionTracking => "nft_ct",
            Self::Reject => "nft_reject_inet",
            Self::ConnectionCount => "nft_connlimit",
            Self::Limit => "nft_limit",
            Self::Htb => "sch_htb",
            Self::Ingress => "sch_ingress",
            Self::U32 => "cls_u32",
            Self::Ifb => "ifb",
            Self::Mirred => "act_mirred",
            Self::Police => "act_police",
            Self::FqCodel => "sch_fq_codel",
        }
    }

    /// The choice in a kernel's configuration.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::NfTables => "CONFIG_NF_TABLES_INET",
            Self::ConnectionTracking => "CONFIG_NFT_CT",
            Self::Reject => "CONFIG_NFT_REJECT",
            Self::ConnectionCount => "CONFIG_NFT_CONNLIMIT",
            Self::Limit => "CONFIG_NFT_LIMIT",
            Self::Htb => "CONFIG_NET_SCH_HTB",
            Self::Ingress => "CONFIG_NET_SCH_INGRESS",
            Self::U32 => "CONFIG_NET_CLS_U32",
            Self::Ifb => "CONFIG_IFB",
            Self::Mirred => "CONFIG_NET_ACT_MIRRED",
            Self::Police => "CONFIG_NET_ACT_POLICE",
            Self::FqCodel => "CONFIG_NET_SCH_FQ_CODEL",
        }
    }
}

/// Whose kernel it is, which decides how its owner comes by another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum KernelHome {
    /// This PC's own.
    #[default]
    Linux,
    /// Microsoft's, of the subsystem for Linux.
    Wsl,
    /// Docker Desktop's, in its machine.
    DockerDesktop,
}

impl KernelHome {
    /// As the kernel's release has it, e.g. `5.15.167.4-microsoft-standard-WSL2`.
    #[must_use]
    pub fn of_release(release: &str) -> Self {
        let release = release.to_ascii_lowercase();
        match () {
            () if release.contains("wsl2") || release.contains("microsoft") => Self::Wsl,
            () if release.contains("linuxkit") => Self::DockerDesktop,
            () => Self::Linux,
        }
    }
}

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum KernelFacts {
    /// Nobody asked, or there was no answer: by a gateway's image that does not know the question, for one.
    #[default]
    Unasked,
    /// It is being asked for the first time.
    Asking,
    Told {
        lacks: Vec<KernelPart>,
        home: KernelHome,
    },
}

impl KernelFacts {
    /// What is missing that no gateway can do without, as far as that is known; in a fixed order.
    #[must_use]
    pub fn in_the_way(&self) -> Vec<KernelPart> {
        let Self::Told { lacks, .. } = self else { return Vec::new() };
        let lacks_it = |part: &KernelPart| lacks.contains(part);
        KernelPart::ALL.into_iter().filter(lacks_it).filter(|part| is_in_the_way(*part, lacks_it)).collect()
    }

    /// What is missing that the gateway has a next best for, so that jobs run all the same.
    #[must_use]
    pub fn made_up_for(&self) -> Vec<KernelPart> {
        let Self::Told { lacks, .. } = self else { return Vec::new() };
        let grave = self.in_the_way();
        KernelPart::ALL.into_iter().filter(|part| lacks.contains(part) && !grave.contains(part)).collect()
    }
}

/// Whether nothing makes up for the lack of it.
fn is_in_the_way(part: KernelPart, lacks: impl Fn(&KernelPart) -> bool) -> bool {
    use KernelPart as P;
    match part {
        P::NfTables | P::ConnectionTracking | P::Reject | P::Htb | P::Ingress | P::U32 => true,
        P::ConnectionCount => lacks(&P::Limit),
        P::Limit => lacks(&P::ConnectionCount),
        P::Ifb | P::Mirred => lacks(&P::Police),
        P::Police => lacks(&P::Ifb) || lacks(&P::Mirred),
        P::FqCodel => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use KernelPart as P;
    use proptest::prelude::*;

    fn told(lacks: &[KernelPart]) -> KernelFacts {
        KernelFacts::Told { lacks: lacks.to_vec(), home: KernelHome::Linux }
    }

    #[test]
    fn what_has_a_next_best_is_in_nobodys_way_until_that_is_missing_too() {
        for (lacks, in_the_way) in [
            (&[][..], &[][..]),
            (&[P::Htb], &[P::Htb]),
            (&[P::FqCodel, P::Ifb, P::ConnectionCount], &[]),
            (&[P::Police, P::Limit], &[]),
            (&[P::Police, P::Ifb], &[P::Ifb, P::Police]),
            (&[P::Mirred, P::Police], &[P::Mirred, P::Police]),
            (&[P::Limit, P::ConnectionCount], &[P::ConnectionCount, P::Limit]),
            (&[P::U32, P::NfTables], &[P::NfTables, P::U32]),
        ] {
            assert_eq!(told(lacks).in_the_way(), in_the_way, "{lacks:?}");
        }
        assert!(KernelFacts::Unasked.in_the_way().is_empty() && KernelFacts::Asking.in_the_way().is_empty());
    }

    #[test]
    fn whose_kernel_it_is_is_read_from_its_release() {
        assert_eq!(KernelHome::of_release("5.15.167.4-microsoft-standard-WSL2"), KernelHome::Wsl);
        assert_eq!(KernelHome::of_release("6.10.14-linuxkit"), KernelHome::DockerDesktop);
        assert_eq!(KernelHome::of_release("6.1.0-18-amd64"), KernelHome::Linux);
    }

    proptest! {
        #[test]
        fn each_lack_is_either_in_the_way_or_made_up_for_and_more_lacks_never_open_it(
            lacks in prop::collection::vec(prop::sample::select(&P::ALL[..]), 0..12),
            one_more in prop::sample::select(&P::ALL[..]),
        ) {
            let (grave, light) = (told(&lacks).in_the_way(), told(&lacks).made_up_for());
            for part in P::ALL {
                let counted = usize::from(grave.contains(&part)) + usize::from(light.contains(&part));
                prop_assert_eq!(counted, usize::from(lacks.contains(&part)));
            }
            let more = told(&[lacks, vec![one_more]].concat()).in_the_way();
            prop_assert!(grave.iter().all(|part| more.contains(part)));
        }
    }
}
