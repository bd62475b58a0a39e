//! The regular expressions of dependencies, by regex-lite.
//!
//! oci-spec checks one field with them (`execCPUAffinity`), for which the crate
//! of this name would be a tenth of the runtime's program. Nothing of ours has a
//! regular expression.
#![forbid(unsafe_code)]

pub use regex_lite::{Captures, Error, Regex, RegexBuilder};
