//! Resource limits, `nofile=1024:2048`.

use engine_api::host_config::Ulimit;

use super::{ParseError, refuse};

const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads a limit; without a hard one it is the soft one.
pub(crate) fn parse(text: &str) -> Result<Ulimit, ParseError> {
    let Some((name, limits)) = text.split_once('=') else {
        return refuse(format!("invalid ulimit argument: {text}"));
    };
    if !NAMES.contains(&name) {
        return refuse(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (limit(text, soft)?, limit(text, hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return refuse(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        hard,
        soft,
    })
}

fn limit(text: &str, number: &str) -> Result<i64, ParseError> {
    match number.parse() {
        Ok(limit) if limit >= -1 => Ok(limit),
        _ => refuse(format!("invalid ulimit argument: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_as_docker_reads_them() {
        let read = |text| parse(text).map(|u| (u.soft, u.hard));
        assert_eq!(read("nofile=10:20"), Ok((10, 20)));
        assert_eq!(read("nproc=5"), Ok((5, 5)));
        assert_eq!(read("core=0:-1"), Ok((0, -1)));
        for bad in [
            "",
            "nofile",
            "nofile=",
            "nofile=20:10",
            "files=1",
            "nofile=-1:5",
            "nofile=a:b",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
