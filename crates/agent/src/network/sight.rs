//! What is seen of the line: the automatic, and the search for somebody to ask.

use nightjar_core::bandwidth::{Latency, Mood, Probing, Search, Vantage};
use nightjar_core::network::Rates;
use tokio_util::task::AbortOnDropHandle;

use super::automatic::Automatic;
use super::near::{self, Host};
use super::probe::has_no_way;
use crate::clock::Clock;

pub(super) struct Sight {
    clock: Clock,
    is_open: bool,
    automatic: Option<Automatic>,
    /// Who is asked.
    hosts: Vec<Host>,
    search: Search,
    /// Names are looked up beside all else, which may not wait for it.
    looking: Option<AbortOnDropHandle<Vec<Host>>>,
}

impl Sight {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            is_open: false,
            automatic: None,
            hosts: Vec::new(),
            search: Search::default(),
            looking: None,
        }
    }

    /// Something of ours may use the line, and its owner wants it watched: to be called again and again.
    pub fn open(&mut self, coordinator: &dyn Fn() -> Option<String>) {
        self.is_open = true;
        let (mood, now) = (self.automatic.as_ref().map(Automatic::mood), self.clock.now());
        if self.search.is_due(mood, now) && self.looking.is_none() {
            self.search.try_now(now);
            let coordinator = coordinator();
            let looking = async move { near::hosts(coordinator.as_deref()).await };
            self.looking = Some(AbortOnDropHandle::new(tokio::spawn(looking)));
        }
    }

    pub fn close(&mut self, is_wanted: bool) {
        self.is_open = false;
        (self.automatic, self.looking) = (None, None);
        self.hosts.clear();
        if is_wanted {
            self.search.rest();
        } else {
            self.search = Search::default();
        }
    }

    /// Waits for what a probe or a look-up says, and heeds it. Can be called off and called again.
    pub async fn heed(&mut self, limits: Rates) {
        let (automatic, looking) = (&mut self.automatic, &mut self.looking);
        let looked = async {
            match looking {
                Some(looking) => looking.await,
                None => std::future::pending().await,
            }
        };
        let probed = async {
            match automatic {
                Some(automatic) => automatic.heed().await,
                None => std::future::pending().await,
            }
        };
        let found = tokio::select! {
            found = looked => found.unwrap_or_default(),
            () = probed => return,
        };
        self.looking = None;
        self.take(found, limits);
    }

    fn take(&mut self, found: Vec<Host>, limits: Rates) {
        let seen_from: Vec<Vantage> = found.iter().flatten().map(|(_, vantage)| *vantage).collect();
        if !self.search.prefers(&seen_from, found != self.hosts) {
            return;
        }
        let asked = match &mut self.automatic {
            Some(automatic) => automatic.ask(&found),
            None => Automatic::over(&found, limits).map(|automatic| self.automatic = Some(automatic)),
        };
        let probing = match (asked, &self.automatic) {
            (Ok(()), Some(automatic)) => {
                self.hosts = found;
                Probing::At(automatic.vantages().to_vec())
            }
            (Err(error), _) if !has_no_way(&error) => Probing::Forbidden { detail: error.to_string() },
            _ => Probing::NoAddress,
        };
        let before = self.search.probing().clone();
        self.search.take(probing);
        if *self.search.probing() != before {
            tell(self.search.probing());
        }
    }

    /// What may be used of the line while so much is carried.
    pub fn rates(&mut self, limits: Rates, carried: Rates) -> Rates {
        match &mut self.automatic {
            Some(automatic) => {
                automatic.set_limits(limits);
                automatic.carried(carried);
                automatic.tick();
                automatic.rates()
            }
            None if self.is_open => self.search.rates(limits),
            None => limits,
        }
    }

    pub fn mood(&self) -> Option<Mood> {
        let is_lost = self.is_open && *self.search.probing() == Probing::NoAddress;
        self.automatic.as_ref().map(Automatic::mood).or(is_lost.then_some(Mood::Blind))
    }

    pub fn latency(&self) -> Option<Latency> {
        self.automatic.as_ref().and_then(Automatic::latency)
    }

    /// Why the automatic cannot be had here.
    pub fn no_probe(&self) -> Option<String> {
        match self.search.probing() {
            Probing::Forbidden { detail } => Some(detail.clone()),
            _ => None,
        }
    }
}

fn tell(probing: &Probing) {
    match probing {
        Probing::Forbidden { detail } => {
            tracing::warn!("the line's latency cannot be measured, so the limits hold as they are: {detail}")
        }
        Probing::NoAddress => tracing::info!(
            "nobody can be asked for the line's latency yet; little of the line is used until somebody can"
        ),
        Probing::At(_) | Probing::Untried => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Rates = Rates { up_kbit: 1_000, down_kbit: 50_000 };
    const CAREFUL: Rates = Rates { up_kbit: 1_000, down_kbit: 2_000 };

    fn host(address: &str, vantage: Vantage) -> Host {
        vec![(address.parse().unwrap(), vantage)]
    }

    #[tokio::test]
    async fn while_nobody_is_found_little_is_used_and_an_idle_line_is_not_watched() {
        let mut sight = Sight::new(Clock::start());
        assert_eq!(sight.rates(LIMITS, Rates::default()), LIMITS);
        sight.open(&|| None);
        assert_eq!(sight.rates(LIMITS, Rates::default()), CAREFUL);
        sight.take(Vec::new(), LIMITS);
        assert_eq!((sight.rates(LIMITS, Rates::default()), sight.mood()), (CAREFUL, Some(Mood::Blind)));
        assert_eq!(sight.no_probe(), None, "that is no lack of this PC's");
        sight.close(true);
        assert_eq!((sight.rates(LIMITS, Rates::default()), sight.mood()), (LIMITS, None));
    }

    /// Needs the right to ask, which a container may lack: then that is what is said, and the limits hold.
    #[tokio::test]
    async fn who_was_found_only_later_is_asked_as_well() {
        let mut sight = Sight::new(Clock::start());
        sight.open(&|| Some("http://127.0.0.1:1".into()));
        tokio::time::timeout(Duration::from_secs(5), sight.heed(LIMITS)).await.unwrap();
        if let Some(why) = sight.no_probe() {
            assert!(sight.automatic.is_none(), "{why}");
            assert_eq!(sight.rates(LIMITS, Rates::default()), LIMITS);
            return;
        }
        let router = host("127.0.0.1:0", Vantage::Near);
        sight.take(vec![router.clone(), host("127.0.0.2:0", Vantage::Beyond)], LIMITS);
        let seen = |sight: &Sight| sight.automatic.as_ref().map(|automatic| automatic.vantages().to_vec());
        assert_eq!(seen(&sight), Some(vec![Vantage::Near, Vantage::Beyond]));
        // A name that is not found for a while takes nobody away.
        sight.take(vec![router], LIMITS);
        sight.take(Vec::new(), LIMITS);
        assert_eq!(seen(&sight), Some(vec![Vantage::Near, Vantage::Beyond]));
    }
}
