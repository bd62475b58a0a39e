//! Subnets of a new network with what belongs to each: gateways, ranges and
//! reserved addresses are given apart, in any order, and go to the subnet that
//! contains them.

use std::fmt::Display;
use std::net::IpAddr;

use engine_api::network::IpamConfig;
use ipnet::IpNet;

use crate::error::CliError;
use crate::parse::label;

/// What the options say, as they say it.
pub(super) struct Given<'a> {
    pub(super) subnets: &'a [String],
    pub(super) ranges: &'a [String],
    pub(super) gateways: &'a [String],
    /// `NAME=ADDRESS` each.
    pub(super) aux_addresses: &'a [String],
}

/// Returns the subnets.
///
/// # Errors
/// Usage, for what belongs to no subnet or a subnet has already.
pub(super) fn pair(given: &Given<'_>) -> Result<Vec<IpamConfig>, CliError> {
    if given.subnets.is_empty() {
        let is_alone = !given.ranges.is_empty() || !given.gateways.is_empty();
        if is_alone {
            return usage("every ip-range or gateway must have a corresponding subnet");
        }
        if !given.aux_addresses.is_empty() {
            return usage("every aux-address must have a corresponding subnet");
        }
    }
    let mut all: Vec<(IpNet, IpamConfig)> = Vec::new();
    for text in given.subnets {
        let subnet: IpNet = parse(text, "subnet")?;
        let meets = |(other, _): &(IpNet, _)| other.contains(&subnet) || subnet.contains(other);
        if all.iter().any(meets) {
            return usage("multiple overlapping subnet configuration is not supported");
        }
        let config = IpamConfig {
            subnet: text.clone(),
            ..IpamConfig::default()
        };
        all.push((subnet, config));
    }
    for text in given.ranges {
        let range: IpNet = parse(text, "ip-range")?;
        let config = find(&mut all, "range", text, |subnet| subnet.contains(&range))?;
        set(&mut config.ip_range, text, "ranges")?;
    }
    for text in given.gateways {
        let gateway: IpAddr = parse(text, "gateway")?;
        let config = find(&mut all, "gateway", text, |subnet| {
            subnet.contains(&gateway)
        })?;
        set(&mut config.gateway, text, "gateways")?;
    }
    for (name, text) in label::to_map(given.aux_addresses) {
        let address: IpAddr = parse(&text, "aux-address")?;
        let what = "aux-address";
        let config = find(&mut all, what, &text, |subnet| subnet.contains(&address))?;
        config.auxiliary_addresses.insert(name, text);
    }
    Ok(all.into_iter().map(|(_, config)| config).collect())
}

fn find<'a>(
    all: &'a mut [(IpNet, IpamConfig)],
    what: &str,
    text: &str,
    is_in: impl Fn(&IpNet) -> bool,
) -> Result<&'a mut IpamConfig, CliError> {
    match all.iter_mut().find(|(subnet, _)| is_in(subnet)) {
        Some((_, config)) => Ok(config),
        None => usage(format!("no matching subnet for {what} {text}")),
    }
}

fn set(field: &mut String, text: &str, what: &str) -> Result<(), CliError> {
    if !field.is_empty() {
        return usage(format!(
            "cannot configure multiple {what} ({text}, {field}) on the same subnet"
        ));
    }
    text.clone_into(field);
    Ok(())
}

fn parse<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, CliError> {
    let parsed = text.parse();
    parsed.or_else(|_| usage(format!("invalid {what}: {text}")))
}

fn usage<T>(message: impl Display) -> Result<T, CliError> {
    Err(CliError::Usage(message.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        subnets: &[&str],
        ranges: &[&str],
        gateways: &[&str],
        aux: &[&str],
    ) -> Result<String, String> {
        let [subnets, ranges, gateways, aux_addresses] =
            [subnets, ranges, gateways, aux].map(|texts| {
                texts
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>()
            });
        let given = Given {
            subnets: &subnets,
            ranges: &ranges,
            gateways: &gateways,
            aux_addresses: &aux_addresses,
        };
        let pairs = pair(&given).map_err(|error| error.message())?;
        let shown = pairs.into_iter().map(|it| {
            let aux: Vec<_> = it.auxiliary_addresses.into_iter().collect();
            format!("{} {} {} {aux:?}", it.subnet, it.ip_range, it.gateway)
        });
        Ok(shown.collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn what_is_given_goes_to_the_subnet_that_contains_it() {
        let paired = check(
            &["10.1.0.0/16", "fd00:1::/64"],
            &["fd00:1::/80"],
            &["fd00:1::ff", "10.1.0.9"],
            &["a=10.1.0.7", "b=fd00:1::7"],
        );
        let expected = "10.1.0.0/16  10.1.0.9 [(\"a\", \"10.1.0.7\")]; \
                        fd00:1::/64 fd00:1::/80 fd00:1::ff [(\"b\", \"fd00:1::7\")]";
        assert_eq!(paired.unwrap(), expected);
        assert_eq!(check(&[], &[], &[], &[]).unwrap(), "");
    }

    #[test]
    fn what_belongs_nowhere_is_refused() {
        let subnet = &["10.1.0.0/16"][..];
        for (refused, part) in [
            (
                check(&[], &[], &["10.1.0.1"], &[]),
                "must have a corresponding subnet",
            ),
            (
                check(&[], &[], &[], &["a=10.1.0.1"]),
                "must have a corresponding subnet",
            ),
            (
                check(subnet, &[], &["10.2.0.1"], &[]),
                "no matching subnet for gateway 10.2.0.1",
            ),
            (
                check(subnet, &["fd00::/80"], &[], &[]),
                "no matching subnet for range fd00::/80",
            ),
            (
                check(subnet, &[], &[], &["a=::1"]),
                "no matching subnet for aux-address ::1",
            ),
            (
                check(subnet, &[], &["10.1.0.1", "10.1.0.2"], &[]),
                "cannot configure multiple gateways",
            ),
            (
                check(&["10.1.0.0/16", "10.1.2.0/24"], &[], &[], &[]),
                "overlapping",
            ),
            (check(&["x"], &[], &[], &[]), "invalid subnet: x"),
        ] {
            let message = refused.unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
