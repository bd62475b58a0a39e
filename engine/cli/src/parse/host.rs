//! The daemon's address.

use std::path::PathBuf;

use super::{ParseError, refuse};

/// Reads `unix:///path`.
pub(crate) fn parse(text: &str) -> Result<PathBuf, ParseError> {
    let Some(path) = text.strip_prefix("unix://") else {
        return refuse(format!(
            "cannot connect to {text:?}: only unix:// is supported"
        ));
    };
    match path.starts_with('/') {
        true => Ok(path.into()),
        false => refuse(format!(
            "invalid address {text:?}: the path must be absolute"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_unix_sockets_are_taken() {
        assert_eq!(parse("unix:///run/x.sock"), Ok("/run/x.sock".into()));
        for bad in [
            "tcp://127.0.0.1:2375",
            "/run/x.sock",
            "unix://run/x.sock",
            "unix://",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
