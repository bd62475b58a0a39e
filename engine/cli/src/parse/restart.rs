//! Restart policies, `on-failure:3`.

use engine_api::host_config::RestartPolicy;

use super::{ParseError, refuse};

/// Reads a policy.
pub(crate) fn parse(text: &str) -> Result<RestartPolicy, ParseError> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let count = match count {
        None => 0,
        Some(_) if name != "on-failure" => {
            return refuse(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'",
            );
        }
        Some(digits) => match digits.parse::<u32>() {
            Ok(count) => i64::from(count),
            Err(_) => {
                return refuse(format!(
                    "invalid restart policy: maximum retry count must be a number: {digits:?}"
                ));
            }
        },
    };
    match name {
        "" | "no" | "always" | "unless-stopped" | "on-failure" => Ok(RestartPolicy {
            name: name.to_owned(),
            maximum_retry_count: count,
        }),
        _ => refuse(format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_as_docker_reads_them() {
        let read = |text| parse(text).map(|p| (p.name, p.maximum_retry_count));
        assert_eq!(read("on-failure:3"), Ok(("on-failure".into(), 3)));
        assert_eq!(read("always"), Ok(("always".into(), 0)));
        for bad in [
            "bogus",
            "always:3",
            "on-failure:x",
            "on-failure:-1",
            "on-failure:",
            "Always",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
