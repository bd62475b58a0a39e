//! `--security-opt`: each value read once, unknown ones refused.

use crate::SecurityError;

/// What the options ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SecurityOptions {
    pub(crate) seccomp: SeccompChoice,
    pub(crate) apparmor: Option<String>,
    pub(crate) no_new_privileges: bool,
    /// No masked and no read-only paths.
    pub(crate) unconfined_paths: bool,
}

/// Which filter to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum SeccompChoice {
    /// The default one, none for a privileged container.
    #[default]
    Default,
    /// The default one, for a privileged container too.
    Builtin,
    Unconfined,
    /// A profile's JSON text; clients read the file.
    Profile(String),
}

/// Reads options as clients send them: `name=value`, the older `name:value`,
/// or `no-new-privileges` alone. Later ones override earlier ones.
pub(crate) fn parse(options: &[String]) -> Result<SecurityOptions, SecurityError> {
    let mut parsed = SecurityOptions::default();
    for option in options {
        take(&mut parsed, option)?;
    }
    Ok(parsed)
}

fn take(parsed: &mut SecurityOptions, option: &str) -> Result<(), SecurityError> {
    let invalid = || SecurityError::InvalidOption(shown(option));
    if option == "no-new-privileges" {
        parsed.no_new_privileges = true;
        return Ok(());
    }
    if option == "disable" {
        return Ok(());
    }
    let separated = option.split_once('=').or_else(|| option.split_once(':'));
    match separated.ok_or_else(invalid)? {
        ("no-new-privileges", value) => {
            parsed.no_new_privileges = parse_bool(value).ok_or_else(invalid)?;
        }
        ("seccomp", "unconfined") => parsed.seccomp = SeccompChoice::Unconfined,
        ("seccomp", "builtin") => parsed.seccomp = SeccompChoice::Builtin,
        ("seccomp", json) => parsed.seccomp = SeccompChoice::Profile(json.to_owned()),
        ("apparmor", "") => return Err(invalid()),
        ("apparmor", profile) => parsed.apparmor = Some(profile.to_owned()),
        ("systempaths", "unconfined") => parsed.unconfined_paths = true,
        // SELinux is not ours to configure; turning it off is no change.
        ("label", "disable") => {}
        ("label", _) => return Err(SecurityError::Label(shown(option))),
        _ => return Err(invalid()),
    }
    Ok(())
}

/// As Go reads a truth value, which is what clients are used to.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The beginning of an option, which may be a whole file by mistake.
fn shown(option: &str) -> String {
    option.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Result<SecurityOptions, SecurityError> {
        let owned: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        parse(&owned)
    }

    #[test]
    fn known_options_are_read_in_every_spelling() {
        let parsed = read(&["no-new-privileges", "seccomp:unconfined", "label:disable"]).unwrap();
        assert!(parsed.no_new_privileges);
        assert_eq!(parsed.seccomp, SeccompChoice::Unconfined);
        assert!(read(&["no-new-privileges:true"]).unwrap().no_new_privileges);
        assert!(read(&["no-new-privileges=1"]).unwrap().no_new_privileges);
        let off = read(&["no-new-privileges", "no-new-privileges=false"]).unwrap();
        assert!(!off.no_new_privileges);
        assert!(read(&["systempaths=unconfined"]).unwrap().unconfined_paths);
        let apparmor = read(&["apparmor=a:b"]).unwrap().apparmor;
        assert_eq!(apparmor.as_deref(), Some("a:b"));
        let json = r#"{"a":"b=c"}"#;
        let profile = read(&[&format!("seccomp={json}")]).unwrap().seccomp;
        assert_eq!(profile, SeccompChoice::Profile(json.to_owned()));
    }

    #[test]
    fn unknown_options_are_refused_by_name() {
        let bad = [
            "",
            "nonsense",
            "foo=bar",
            "no-new-privileges=maybe",
            "systempaths=x",
            "apparmor=",
            "label=level:s0",
        ];
        for option in bad {
            let error = read(&[option]).unwrap_err().to_string();
            assert!(error.contains(option), "{error}");
        }
    }
}
