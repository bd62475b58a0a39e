//! Messages of syslog, in the spellings that Docker's driver has.

use engine_shim_api::{SyslogConfig, SyslogFormat};

use super::host_name;
use crate::log::Line;
use crate::stdio::OUTPUTS;
use crate::sys::{LocalTime, local_time};

/// Severities: information, and an error.
const SEVERITIES: [u8; OUTPUTS.len()] = [6, 3];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Spells messages.
#[derive(Debug)]
pub(super) struct Syslog {
    config: SyslogConfig,
    host: String,
    pid: u32,
}

impl Syslog {
    pub(super) fn new(config: &SyslogConfig) -> Self {
        Self::fixed(config, &host_name(), std::process::id())
    }

    /// The same with a host and a process id that are told.
    pub(super) fn fixed(config: &SyslogConfig, host: &str, pid: u32) -> Self {
        Self {
            config: config.clone(),
            host: host.to_owned(),
            pid,
        }
    }

    /// Appends the message of one line, newline included.
    pub(super) fn encode(&self, message: &mut Vec<u8>, line: &Line<'_>) {
        let time = local_time(line.time.seconds());
        let nanoseconds = line.time.nanoseconds().rem_euclid(1_000_000_000);
        self.encode_at(message, line, &time, nanoseconds / 1000);
    }

    pub(super) fn encode_at(
        &self,
        message: &mut Vec<u8>,
        line: &Line<'_>,
        time: &LocalTime,
        microseconds: i64,
    ) {
        let priority = self.config.facility * 8 + SEVERITIES[line.stream as usize];
        let (host, tag, pid) = (&self.host, &self.config.tag, self.pid);
        let head = match self.config.format {
            SyslogFormat::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp(time)),
            SyslogFormat::Rfc3164 => {
                format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp(time))
            }
            SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro => {
                let fraction = match self.config.format {
                    SyslogFormat::Rfc5424Micro => format!(".{microseconds:06}"),
                    _ => String::new(),
                };
                let time = internet_time(time, &fraction);
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
        };
        message.extend(head.as_bytes());
        message.extend(line.text());
        message.push(b'\n');
    }
}

/// As in `Jan  2 03:04:05`.
fn stamp(time: &LocalTime) -> String {
    let month = MONTHS.get(time.month as usize - 1).unwrap_or(&MONTHS[0]);
    let LocalTime {
        day,
        hour,
        minute,
        second,
        ..
    } = time;
    format!("{month} {day:2} {hour:02}:{minute:02}:{second:02}")
}

/// RFC 3339 with the zone's offset.
fn internet_time(time: &LocalTime, fraction: &str) -> String {
    let LocalTime {
        year,
        month,
        day,
        hour,
        minute,
        second,
        offset_seconds,
    } = time;
    let zone = match offset_seconds / 60 {
        0 => "Z".to_owned(),
        minutes => {
            let sign = if minutes < 0 { '-' } else { '+' };
            let minutes = minutes.abs();
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
}
