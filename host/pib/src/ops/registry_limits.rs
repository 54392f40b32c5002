//! How often clients may ask a registry's server for changes, and how often they may be wrong about a token.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock as _;
use governor::middleware::StateInformationMiddleware;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use pib_plan::id::Digest;

/// The most clients that are known at the same time, before those are forgotten that have been quiet long enough.
const KNOWN: usize = 65_536;

/// How many requests of a kind a minute has; 0 means any number.
#[derive(Debug, Clone, Copy)]
pub struct RateLimits {
    /// Changes with one token.
    pub token: u32,
    /// Changes from one address.
    pub address: u32,
    /// Tokens that are not known, from one address.
    pub failures: u32,
}

/// Why a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The token is used too often.
    Token,
    /// The address asks too often.
    Address,
    /// The address has sent too many tokens that are not known.
    Failures,
}

impl Limit {
    /// Returns its name, as metrics have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Address => "address",
            Self::Failures => "failures",
        }
    }
}

/// Counts requests.
pub(super) struct Limiter {
    tokens: Option<Counted<Digest>>,
    addresses: Option<Counted<IpAddr>>,
    failures: Option<Counted<IpAddr>>,
    /// Until when no token is looked at, by the addresses that have guessed too often.
    shut: Mutex<HashMap<IpAddr, Instant>>,
}

/// Counts requests by key.
struct Counted<K: Clone + Hash + Eq>(DefaultKeyedRateLimiter<K, StateInformationMiddleware>);

impl<K: Clone + Hash + Eq> Counted<K> {
    fn new(minute: u32) -> Option<Self> {
        let quota = Quota::per_minute(NonZeroU32::new(minute)?);
        Some(Self(RateLimiter::keyed(quota).with_middleware::<StateInformationMiddleware>()))
    }

    /// Counts a request; returns how long the next one has to wait, where this one is too many.
    fn add(&self, key: &K) -> Option<Duration> {
        self.count(key).err()
    }

    /// Counts a request; returns how long the next one has to wait, where this one is the last for now, or too many.
    fn add_last(&self, key: &K) -> Option<Duration> {
        self.count(key).unwrap_or_else(Some)
    }

    /// Counts a request; returns the wait after it, where it was the last for now. The error is the wait where it is too many.
    fn count(&self, key: &K) -> Result<Option<Duration>, Duration> {
        if self.0.len() >= KNOWN {
            self.0.retain_recent();
        }
        let counted = self.0.check_key(key);
        let counted = counted.map_err(|until| until.wait_time_from(self.0.clock().now()))?;
        Ok((counted.remaining_burst_capacity() == 0).then(|| counted.quota().replenish_interval()))
    }
}

impl Limiter {
    pub(super) fn new(limits: RateLimits) -> Self {
        Self {
            tokens: Counted::new(limits.token),
            addresses: Counted::new(limits.address),
            failures: Counted::new(limits.failures),
            shut: Mutex::default(),
        }
    }

    /// Counts a change from an address; returns how long it has to wait, where it is too many.
    pub(super) fn from(&self, address: IpAddr) -> Option<Duration> {
        self.addresses.as_ref()?.add(&network(address))
    }

    /// Counts a change with a token; returns how long it has to wait, where it is too many.
    pub(super) fn with(&self, token: &Digest) -> Option<Duration> {
        self.tokens.as_ref()?.add(token)
    }

    /// Counts a token that is not known.
    pub(super) fn failed(&self, address: IpAddr) {
        let address = network(address);
        let Some(wait) = self.failures.as_ref().and_then(|failures| failures.add_last(&address)) else {
            return;
        };
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if shut.len() >= KNOWN {
            shut.retain(|_, until| *until > now);
        }
        shut.insert(address, now + wait);
    }

    /// Returns how long no token from an address is looked at, where it has guessed too often.
    pub(super) fn is_shut(&self, address: IpAddr) -> Option<Duration> {
        let address = network(address);
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = shut.get(&address)?.checked_duration_since(Instant::now());
        if wait.is_none() {
            shut.remove(&address);
        }
        wait
    }
}

/// Returns what stands for one client: of IPv6, which gives everybody as many addresses as they like, the network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RateLimits = RateLimits { token: 2, address: 3, failures: 1 };

    #[test]
    fn what_is_too_much_waits() {
        let limiter = Limiter::new(LIMITS);
        let (here, there): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..3 {
            assert_eq!(limiter.from(here), None);
        }
        let wait = limiter.from(here).unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(20), "{wait:?}");
        assert_eq!(limiter.from(there), None);
        let (mine, yours) = (Digest::of(b"mine"), Digest::of(b"yours"));
        assert!(limiter.with(&mine).is_none() && limiter.with(&mine).is_none());
        assert!(limiter.with(&mine).is_some() && limiter.with(&yours).is_none());
    }

    #[test]
    fn who_guesses_tokens_is_shut_out() {
        let limiter = Limiter::new(RateLimits { failures: 2, ..LIMITS });
        let here: IpAddr = "2001:db8::1".parse().unwrap();
        limiter.failed(here);
        assert_eq!(limiter.is_shut(here), None);
        // As many as the limit says are answered, and no more.
        limiter.failed(here);
        // Another address of the same network is the same client.
        let wait = limiter.is_shut("2001:db8::ffff".parse().unwrap()).unwrap();
        assert!(wait <= Duration::from_secs(60), "{wait:?}");
        assert_eq!(limiter.is_shut("2001:db8:0:1::1".parse().unwrap()), None);
    }

    #[test]
    fn zero_is_no_limit() {
        let limiter = Limiter::new(RateLimits { token: 0, address: 0, failures: 0 });
        let here: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        for _ in 0..1000 {
            assert_eq!((limiter.from(here), limiter.with(&Digest::of(b""))), (None, None));
            limiter.failed(here);
        }
        assert_eq!(limiter.is_shut(here), None);
    }
}
