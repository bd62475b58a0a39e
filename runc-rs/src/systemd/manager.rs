//! What is asked of systemd: units that begin, change and end.

use std::time::{Duration, Instant};

use super::Property;
use super::bus::{Bus, BusError};
use super::message::{Call, Message};
use super::name::is_slice;
use super::value::Value;
use crate::cgroup::Manager;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
/// A unit is made, or ended, faster than this.
const JOB_LIMIT: Duration = Duration::from_secs(30);
const DONE: &str = "done";
const UNIT_EXISTS: &str = ".UnitExists";
const NO_SUCH_UNIT: &str = ".NoSuchUnit";

/// Says what systemd did not do.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("systemd could not {action} unit {unit}: the job is {result:?}")]
    Job {
        action: &'static str,
        unit: String,
        result: String,
    },
}

impl ManagerError {
    /// Returns whether there is a unit of the name.
    pub(super) fn is_name_taken(&self) -> bool {
        self.is(UNIT_EXISTS)
    }

    fn is(&self, wanted: &str) -> bool {
        let name = match self {
            Self::Bus(BusError::Answer { name, .. }) => name,
            _ => return false,
        };
        name.strip_prefix(SYSTEMD) == Some(wanted)
    }
}

/// Returns a call of the manager's.
pub(super) fn call<'a>(method: &'a str, body: &'a [Value]) -> Call<'a> {
    Call {
        destination: SYSTEMD,
        path: MANAGER,
        interface: INTERFACE,
        method,
        body,
    }
}

/// A manager that is spoken with.
#[derive(Debug)]
pub(super) struct Connection(Bus);

impl Connection {
    /// Connects to a manager.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(super) fn open(manager: Manager) -> Result<Self, ManagerError> {
        Ok(Self(Bus::connect(manager)?))
    }

    #[cfg(test)]
    pub(super) fn over(stream: std::os::unix::net::UnixStream) -> Result<Self, ManagerError> {
        Ok(Self(Bus::over(stream)?))
    }

    /// Makes a transient unit and waits until it is there.
    ///
    /// # Errors
    /// When there is one of that name that has not failed; when systemd refuses
    /// a property.
    pub(super) fn start(
        &mut self,
        unit: &str,
        properties: &[Property],
    ) -> Result<(), ManagerError> {
        let auxiliary = Value::Array("(sa(sv))".to_owned(), Vec::new());
        let body = [
            Value::text(unit),
            Value::text("replace"),
            list(properties),
            auxiliary,
        ];
        let request = call("StartTransientUnit", &body);
        let started = match self.call(&request) {
            // A failed one of an earlier container holds the name.
            Err(error) if error.is_name_taken() => {
                self.forget_failure(unit)?;
                self.call(&request)?
            }
            started => started?,
        };
        let result = self.wait(&started)?;
        if result == DONE {
            return Ok(());
        }
        // So that the name is free again; the job's failure is the one to tell.
        drop(self.forget_failure(unit));
        Err(ManagerError::Job {
            action: "start",
            unit: unit.to_owned(),
            result,
        })
    }

    /// Ends a unit and waits until it has. One that is not there has ended.
    ///
    /// # Errors
    /// When it does not end.
    pub(super) fn stop(&mut self, unit: &str) -> Result<(), ManagerError> {
        let body = [Value::text(unit), Value::text("replace")];
        let stopped = match self.call(&call("StopUnit", &body)) {
            Err(error) if error.is(NO_SUCH_UNIT) => return Ok(()),
            stopped => stopped?,
        };
        let result = self.wait(&stopped)?;
        match self.forget_failure(unit) {
            Err(error) if !error.is(NO_SUCH_UNIT) => return Err(error),
            _ => {}
        }
        match result == DONE {
            true => Ok(()),
            false => Err(ManagerError::Job {
                action: "stop",
                unit: unit.to_owned(),
                result,
            }),
        }
    }

    /// Changes properties until the next boot.
    ///
    /// # Errors
    /// When systemd refuses one; none is changed then.
    pub(super) fn set(&mut self, unit: &str, properties: &[Property]) -> Result<(), ManagerError> {
        let body = [Value::text(unit), Value::Bool(true), list(properties)];
        self.call(&call("SetUnitProperties", &body)).map(drop)
    }

    /// Returns the control group below which the manager makes units.
    ///
    /// # Errors
    /// When it does not say.
    pub(super) fn control_group(&mut self) -> Result<String, ManagerError> {
        self.property(INTERFACE, "ControlGroup", MANAGER)
    }

    /// Returns the manager's version, 252 say.
    ///
    /// # Errors
    /// When it does not say.
    pub(super) fn version(&mut self) -> Result<u32, ManagerError> {
        let text = self.property(INTERFACE, "Version", MANAGER)?;
        Ok(parse_version(&text))
    }

    /// Returns the control group of a unit, empty where it has none.
    ///
    /// # Errors
    /// When systemd does not say.
    pub(super) fn unit_group(&mut self, unit: &str) -> Result<String, ManagerError> {
        let kind = match is_slice(unit) {
            true => "org.freedesktop.systemd1.Slice",
            false => "org.freedesktop.systemd1.Scope",
        };
        self.property(kind, "ControlGroup", &object(unit))
    }

    fn property(
        &mut self,
        interface: &str,
        name: &str,
        path: &str,
    ) -> Result<String, ManagerError> {
        let body = [Value::text(interface), Value::text(name)];
        let request = Call {
            path,
            interface: "org.freedesktop.DBus.Properties",
            ..call("Get", &body)
        };
        let answer = self.call(&request)?;
        let value = answer.body().text_variant().map_err(BusError::Malformed)?;
        Ok(value.to_owned())
    }

    fn forget_failure(&mut self, unit: &str) -> Result<(), ManagerError> {
        let body = [Value::text(unit)];
        self.call(&call("ResetFailedUnit", &body)).map(drop)
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Message, ManagerError> {
        Ok(self.0.call(call)?)
    }

    /// Waits for the end of the job that an answer names, and returns how it ended.
    fn wait(&mut self, answer: &Message) -> Result<String, ManagerError> {
        let job = answer.body().text().map_err(BusError::Malformed)?;
        let deadline = Instant::now() + JOB_LIMIT;
        loop {
            let signal = self.0.signal(deadline)?;
            let is_end = signal.interface.as_deref() == Some(INTERFACE)
                && signal.member.as_deref() == Some("JobRemoved");
            if !is_end {
                continue;
            }
            let mut body = signal.body();
            let mut read = || {
                body.number()?;
                let job = body.text()?;
                body.text()?;
                Ok((job, body.text()?))
            };
            let (ended, result) = read().map_err(BusError::Malformed)?;
            if ended == job {
                return Ok(result.to_owned());
            }
        }
    }
}

/// Reads `252.36-1~deb12u1`, `v251` and the like; 0 where that is no version.
fn parse_version(text: &str) -> u32 {
    let digits = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let end = digits.find(|letter: char| !letter.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().unwrap_or(0)
}

/// Returns the object that a unit is on the bus: all but letters and digits are
/// written as numbers.
fn object(unit: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (at, byte) in unit.bytes().enumerate() {
        match byte {
            b'0'..=b'9' if at > 0 => path.push(char::from(byte)),
            b'a'..=b'z' | b'A'..=b'Z' => path.push(char::from(byte)),
            other => path.push_str(&format!("_{other:02x}")),
        }
    }
    path
}

fn list(properties: &[Property]) -> Value {
    let pairs = properties.iter().map(|property| {
        let value = Value::Variant(Box::new(property.value.clone()));
        Value::Struct(vec![Value::text(&*property.name), value])
    });
    Value::Array("(sv)".to_owned(), pairs.collect())
}
