//! Who is at the other end of a connection, and which policy that gives.
//!
//! A peer is known once, when its connection is accepted: by what the kernel
//! says of a unix socket's other end, or by a certificate that has been verified.

use std::os::fd::AsFd as _;

use engine_security::access::Policy;
use tokio::net::UnixStream;

use super::places::Place;
use crate::config::{ApiSection, Rule};
use crate::sys;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A process of this host, as it was when it connected.
    Process {
        uid: u32,
        gid: u32,
        pid: Option<i32>,
        /// Its further groups, where a rule asks for them.
        groups: Vec<u32>,
    },
    /// Whoever has the key of this certificate.
    Certificate { common_name: String },
    /// Whoever reached a port on loopback that asks for nothing.
    Loopback,
    /// Whoever reached the port that serves measurements.
    Scraper,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process { uid, .. } => write!(f, "uid:{uid}"),
            Self::Certificate { common_name } => write!(f, "cn:{common_name}"),
            Self::Loopback => f.write_str("loopback"),
            Self::Scraper => f.write_str("metrics"),
        }
    }
}

impl Peer {
    /// Returns who is at the other end of a unix socket.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn of_unix(stream: &UnixStream, config: &ApiSection) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let groups = match config.wants_groups() {
            true => sys::peer_groups(stream.as_fd())?,
            false => Vec::new(),
        };
        Ok(Self::Process {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
            groups,
        })
    }

    fn is_meant(&self, rule: &Rule) -> bool {
        match self {
            Self::Process {
                uid, gid, groups, ..
            } => {
                let is_in = |wanted: u32| *gid == wanted || groups.contains(&wanted);
                rule.uid == Some(*uid) || rule.gid.is_some_and(is_in)
            }
            Self::Certificate { common_name } => rule.common_name.as_ref() == Some(common_name),
            Self::Loopback | Self::Scraper => false,
        }
    }
}

/// A peer with what it may do.
#[derive(Debug)]
pub struct Caller {
    pub peer: Peer,
    pub policy: Policy,
    /// Its place among the connections of those that may not do everything, as
    /// long as anybody works for it: a connection that is taken over too.
    pub(super) place: Option<Place>,
}

impl Caller {
    /// Returns the peer with the policy of the first rule that means it.
    pub fn new(peer: Peer, config: &ApiSection) -> Self {
        let rule = config.rules.iter().find(|rule| peer.is_meant(rule));
        let policy = match (rule, &peer) {
            (Some(rule), _) => rule.policy,
            (None, Peer::Scraper) => Policy::Metrics,
            // Root could read every file and end the daemon: keeping it out
            // protects nothing.
            (None, Peer::Process { uid: 0, .. }) => Policy::Full,
            (None, _) => config.default_policy,
        };
        Self {
            peer,
            policy,
            place: None,
        }
    }

    /// Returns what marks the objects of a client that may only have its own.
    pub fn owner(&self) -> Option<String> {
        (self.policy == Policy::OwnContainers).then(|| self.peer.to_string())
    }

    /// Returns whether an object that is marked so, or not marked, exists for
    /// this client.
    pub fn sees(&self, owner: Option<&str>) -> bool {
        match self.owner() {
            Some(own) => owner == Some(&own),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str, peer: &Peer) -> Policy {
        let config: ApiSection = toml::from_str(rules).unwrap();
        config.check().unwrap();
        Caller::new(peer.clone(), &config).policy
    }

    fn process(uid: u32, gid: u32, groups: &[u32]) -> Peer {
        Peer::Process {
            uid,
            gid,
            pid: Some(1),
            groups: groups.to_vec(),
        }
    }

    fn certificate(name: &str) -> Peer {
        Peer::Certificate {
            common_name: name.to_owned(),
        }
    }

    const RULES: &str = "default-policy = \"none\"\nrules = [{ uid = 7, policy = \"read-only\" }, \
        { gid = 30, policy = \"own-containers\" }, { common-name = \"ci\", policy = \"full\" }]";

    #[test]
    fn the_first_rule_that_fits_decides() {
        assert_eq!(policy(RULES, &process(7, 30, &[])), Policy::ReadOnly);
        assert_eq!(policy(RULES, &process(8, 30, &[])), Policy::OwnContainers);
        assert_eq!(
            policy(RULES, &process(8, 1, &[2, 30])),
            Policy::OwnContainers
        );
        assert_eq!(policy(RULES, &certificate("ci")), Policy::Full);
    }

    #[test]
    fn whoever_no_rule_means_gets_the_default_but_root() {
        assert_eq!(policy(RULES, &process(8, 1, &[2])), Policy::None);
        assert_eq!(policy(RULES, &certificate("7")), Policy::None);
        assert_eq!(policy(RULES, &Peer::Loopback), Policy::None);
        assert_eq!(policy(RULES, &process(0, 0, &[])), Policy::Full);
        let root = "rules = [{ uid = 0, policy = \"read-only\" }]";
        assert_eq!(policy(root, &process(0, 0, &[])), Policy::ReadOnly);
        assert_eq!(policy("", &process(1, 1, &[])), Policy::Full);
    }

    /// A certificate cannot be named so that it is taken for a user.
    #[test]
    fn marks_of_users_and_certificates_differ() {
        let own = "default-policy = \"own-containers\"";
        let config: ApiSection = toml::from_str(own).unwrap();
        let user = Caller::new(process(7, 7, &[]), &config);
        let other = Caller::new(certificate("uid:7"), &config);
        assert_ne!(user.owner(), other.owner());
        assert!(user.sees(Some("uid:7")) && !other.sees(Some("uid:7")));
        assert!(!user.sees(None), "what belongs to nobody is root's");
    }
}
