//! The rules of `cargo xtask tidy`, each pure: text in, violations out.

pub(crate) mod exceptions;
pub(crate) mod links;
pub(crate) mod machine;
pub(crate) mod rust;

use std::fmt;

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The rule's name, as tidy-exceptions.toml spells it.
    pub(crate) rule: &'static str,
    /// What an exception may name to mean only this place: a function, a word.
    pub(crate) item: String,
    pub(crate) message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}",
            self.file, self.line, self.rule, self.message
        )
    }
}
