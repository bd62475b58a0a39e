//! The little languages of options: ports, mounts, durations and so on. Every
//! parser is pure; what it needs of the host is passed in.

pub(crate) mod block_io;
pub(crate) mod cpus;
pub(crate) mod csv;
pub(crate) mod device;
pub(crate) mod duration;
pub(crate) mod env;
pub(crate) mod filter;
pub(crate) mod gpus;
pub(crate) mod host;
pub(crate) mod label;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod platform;
pub(crate) mod port;
pub(crate) mod reference;
pub(crate) mod restart;
pub(crate) mod security;
pub(crate) mod size;
pub(crate) mod time;
pub(crate) mod ulimit;
pub(crate) mod volume;

/// What is wrong with the value of an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ParseError(String);

impl ParseError {
    /// Returns an error that says `message`.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Returns an error that says `message`.
pub(crate) fn refuse<T>(message: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::new(message))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is typed is a value or one clear error.
        #[test]
        fn no_parser_panics(text in r#"[-a-z0-9:=,./\[\]"'%|{}$ äµ\\]{0,24}"#) {
            let now = Timestamp::from_seconds(0);
            drop((cpus::parse(&text), csv::fields(&text), device::parse(&text)));
            drop((duration::parse(&text), env::parse(&text), env::parse_file("f", &text)));
            drop((filter::parse(&text), host::parse(&text), label::parse_file(&text)));
            drop((mount::parse(&text), mount::parse_tmpfs(&text), network::parse(&text)));
            drop((network::extra_host(&text), network::mac_address(&text), port::parse(&text)));
            drop((port::parse_expose(&text), reference::parse(&text), restart::parse(&text)));
            drop((security::parse(&text), security::capability(&text), size::parse(&text)));
            drop((time::parse(&text, now), ulimit::parse(&text), volume::parse(&text)));
            drop(volume::to_bind(&text, &text, Some(&text), Path::new("/home/u")));
            drop(text.parse::<engine_api::detach_keys::DetachKeys>());
        }

        /// The same of templates, which are read and then evaluated.
        #[test]
        fn no_template_panics(action in r#"[-a-z0-9.:=,$|()"` ]{0,24}"#) {
            let template = format!("a {{{{{action}}}}} b").parse::<crate::template::Template>();
            if let Ok(template) = template {
                drop(template.render(&serde_json::json!({"a": [1, {"b": "c"}], "n": null})));
            }
        }
    }
}
