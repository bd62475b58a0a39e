//! What a list of device rules comes to: a default and exceptions.

use std::fmt::Write as _;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::resources::plan::PlanError;

/// Some of reading, writing and making a node, as the kernel numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(u8);

/// What a device is; the kernel tells no others apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Block,
    Character,
}

/// Whether a device may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
}

/// One rule for devices of one kind. No number means any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    pub verdict: Verdict,
    pub kind: DeviceKind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

/// What holds for all devices, and exceptions of which the last one wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePolicy {
    pub default: Verdict,
    pub exceptions: Vec<Exception>,
}

impl Access {
    /// `BPF_DEVCG_ACC_MKNOD`.
    pub const MKNOD: Self = Self(1);
    /// `BPF_DEVCG_ACC_READ`.
    pub const READ: Self = Self(2);
    /// `BPF_DEVCG_ACC_WRITE`.
    pub const WRITE: Self = Self(4);
    /// All three.
    pub const ALL: Self = Self(7);

    /// Returns the kernel's bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Returns whether no access is among them.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns those of both.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns those of this that are not of `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns those that are of both.
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn parse(text: &str) -> Result<Self, PlanError> {
        let mut access = Self(0);
        for letter in text.chars() {
            access = access.with(match letter {
                'r' => Self::READ,
                'w' => Self::WRITE,
                'm' => Self::MKNOD,
                // Passed over, as by runc.
                _ => continue,
            });
        }
        match access.is_empty() {
            true => Err(PlanError::DeviceAccess(text.to_owned())),
            false => Ok(access),
        }
    }

    /// Returns them as rules spell them.
    pub fn letters(self) -> String {
        let all = [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MKNOD, 'm')];
        let all = all.into_iter();
        all.filter(|(access, _)| !self.common(*access).is_empty())
            .map(|(_, letter)| letter)
            .collect()
    }
}

impl Exception {
    /// Returns the rule as v1 spells it, without the verdict.
    pub fn rule(&self) -> String {
        let mut text = String::from(match self.kind {
            DeviceKind::Block => "b ",
            DeviceKind::Character => "c ",
        });
        for (number, separator) in [(self.major, ':'), (self.minor, ' ')] {
            match number {
                Some(number) => write!(text, "{number}{separator}"),
                None => write!(text, "*{separator}"),
            }
            .expect("writing to a string cannot fail");
        }
        text + &self.access.letters()
    }

    /// Returns whether one access to one device matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let agree =
            |one: Option<u32>, two: Option<u32>| one.is_none() || two.is_none() || one == two;
        self.kind == other.kind
            && agree(self.major, other.major)
            && agree(self.minor, other.minor)
            && !self.access.common(other.access).is_empty()
    }

    /// Returns whether every device of `other` is one of this.
    fn covers(&self, other: &Self) -> bool {
        let covers = |one: Option<u32>, two: Option<u32>| one.is_none() || one == two;
        self.kind == other.kind
            && covers(self.major, other.major)
            && covers(self.minor, other.minor)
    }

    /// Takes away what a later rule that covers this one decides. One that says
    /// the same does so only as a whole, so that rules stay as they were given.
    fn lose(&mut self, later: &Self) {
        let left = self.access.without(later.access);
        if self.verdict != later.verdict || left.is_empty() {
            self.access = left;
        }
    }

    fn is_of_same_devices(&self, other: &Self) -> bool {
        self.kind == other.kind && self.major == other.major && self.minor == other.minor
    }
}

impl DevicePolicy {
    /// Returns a policy without exceptions that denies everything.
    pub fn deny_all() -> Self {
        Self {
            default: Verdict::Deny,
            exceptions: Vec::new(),
        }
    }

    /// Adds a rule of a specification.
    ///
    /// # Errors
    /// When its type, access or numbers are none.
    pub fn add(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), PlanError> {
        let verdict = match rule.allow() {
            true => Verdict::Allow,
            false => Verdict::Deny,
        };
        let access = Access::parse(rule.access().as_deref().unwrap_or_default())?;
        let kind = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::B => DeviceKind::Block,
            LinuxDeviceType::C => DeviceKind::Character,
            // As in the kernel: numbers and access do not count then.
            LinuxDeviceType::A => {
                self.default = verdict;
                self.exceptions.clear();
                return Ok(());
            }
            other => return Err(PlanError::DeviceType(other.as_str().to_owned())),
        };
        self.except(Exception {
            verdict,
            kind,
            major: number(rule.major())?,
            minor: number(rule.minor())?,
            access,
        });
        Ok(())
    }

    /// Adds an exception, and drops what it makes void.
    pub fn except(&mut self, mut new: Exception) {
        new.access = new.access.with(self.access_to_merge(&new));
        for old in &mut self.exceptions {
            if new.covers(old) {
                old.lose(&new);
            }
        }
        self.exceptions.retain(|old| !old.access.is_empty());
        let contradicted = |old: &Exception| old.verdict != new.verdict && old.overlaps(&new);
        if new.verdict != self.default || self.exceptions.iter().any(contradicted) {
            self.exceptions.push(new);
        }
    }

    /// Returns the access of an earlier rule for the same devices that may as
    /// well come later: nothing between the two contradicts it.
    fn access_to_merge(&self, new: &Exception) -> Access {
        let is_same = |old: &Exception| old.is_of_same_devices(new) && old.verdict == new.verdict;
        let Some(index) = self.exceptions.iter().rposition(is_same) else {
            return Access(0);
        };
        let old = &self.exceptions[index];
        let mut between = self.exceptions[index + 1..].iter();
        match between.any(|other| other.verdict != old.verdict && other.overlaps(old)) {
            true => Access(0),
            false => old.access,
        }
    }
}

/// Returns a device number; none, and -1, mean any.
fn number(number: Option<i64>) -> Result<Option<u32>, PlanError> {
    match number {
        None | Some(-1) => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(PlanError::DeviceNumber(number)),
        },
    }
}
