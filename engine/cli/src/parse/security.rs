//! `--security-opt` and capabilities.

use super::{ParseError, refuse};

/// A seccomp profile larger than this is none.
pub(crate) const PROFILE_LIMIT_BYTES: u64 = 1024 * 1024;

/// One security option, before files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecurityOption {
    /// Passed on as it is.
    Plain(String),
    /// A seccomp profile to be read from this file.
    SeccompFile(String),
    /// No masked and no read-only paths.
    SystemPathsUnconfined,
}

/// Reads a `--security-opt` value.
pub(crate) fn parse(text: &str) -> Result<SecurityOption, ParseError> {
    if matches!(text, "no-new-privileges" | "disable") {
        return Ok(SecurityOption::Plain(text.to_owned()));
    }
    let Some((name, value)) = text.split_once('=').or_else(|| text.split_once(':')) else {
        return refuse(format!("invalid --security-opt: {text:?}"));
    };
    Ok(match (name, value) {
        ("systempaths", "unconfined") => SecurityOption::SystemPathsUnconfined,
        ("seccomp", "unconfined" | "builtin") => SecurityOption::Plain(text.to_owned()),
        ("seccomp", file) => SecurityOption::SeccompFile(file.to_owned()),
        _ => SecurityOption::Plain(text.to_owned()),
    })
}

/// Returns a capability's full name: `net_admin` is `CAP_NET_ADMIN`.
pub(crate) fn capability(text: &str) -> Result<String, ParseError> {
    let name = text.trim().to_uppercase();
    let is_word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_word {
        return refuse(format!("invalid capability {text:?}"));
    }
    match name == "ALL" || name.starts_with("CAP_") {
        true => Ok(name),
        false => Ok(format!("CAP_{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_passed_on_or_name_a_file() {
        use SecurityOption as O;
        let plain = |text: &str| Ok(O::Plain(text.to_owned()));
        assert_eq!(parse("no-new-privileges"), plain("no-new-privileges"));
        assert_eq!(
            parse("no-new-privileges:false"),
            plain("no-new-privileges:false")
        );
        assert_eq!(parse("seccomp=unconfined"), plain("seccomp=unconfined"));
        assert_eq!(
            parse("seccomp=p.json"),
            Ok(O::SeccompFile("p.json".to_owned()))
        );
        assert_eq!(
            parse("systempaths=unconfined"),
            Ok(O::SystemPathsUnconfined)
        );
        assert!(parse("bogus").is_err());
    }

    #[test]
    fn capabilities_have_one_spelling() {
        assert_eq!(capability("net_admin").unwrap(), "CAP_NET_ADMIN");
        assert_eq!(capability("CAP_SYS_TIME").unwrap(), "CAP_SYS_TIME");
        assert_eq!(capability("all").unwrap(), "ALL");
        assert!(capability("a b").is_err() && capability("").is_err());
    }
}
