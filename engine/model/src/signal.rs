//! Signal names, as `--stop-signal` and `kill` take them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Says that a text names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct SignalError(String);

/// A signal number of Linux on x86-64 and arm64, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(u32);

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

impl Signal {
    pub const TERM: Self = Self(15);
    pub const KILL: Self = Self(9);

    /// Returns the number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Returns the name with its prefix, `SIGTERM`.
    pub fn name(self) -> String {
        match NAMES.get(self.0 as usize - 1) {
            Some(name) => format!("SIG{name}"),
            None => format!("SIGRTMIN+{}", self.0.saturating_sub(RTMIN)),
        }
    }
}

impl FromStr for Signal {
    type Err = SignalError;
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let error = || SignalError(text.to_owned());
        if let Ok(number) = text.parse::<u32>() {
            return if (1..=RTMAX).contains(&number) {
                Ok(Self(number))
            } else {
                Err(error())
            };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            return Ok(Self(index as u32 + 1));
        }
        real_time(name).map(Self).ok_or_else(error)
    }
}

fn real_time(name: &str) -> Option<u32> {
    let number = match name {
        "RTMIN" => RTMIN,
        "RTMAX" => RTMAX,
        _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(offset), _) => RTMIN.checked_add(offset.parse().ok()?)?,
            (_, Some(offset)) => RTMAX.checked_sub(offset.parse().ok()?)?,
            _ => return None,
        },
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        let cases = [
            ("TERM", 15),
            ("sigkill", 9),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SYS", 31),
        ];
        for (text, number) in cases {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
        for bad in ["", "0", "65", "NOPE", "RTMIN+31", "RTMAX-31", "-1"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
        assert_eq!(Signal::TERM.name(), "SIGTERM");
        assert_eq!(Signal(37).name(), "SIGRTMIN+3");
    }
}
