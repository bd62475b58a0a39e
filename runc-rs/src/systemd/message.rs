//! Messages of D-Bus (D-Bus specification, "Message Protocol"). Pure.

use super::value::{Value, pad, write_signature};

/// Messages of a peer in another byte order are not understood: it is on the
/// same machine.
const BYTE_ORDER: u8 = if cfg!(target_endian = "little") {
    b'l'
} else {
    b'B'
};
const PROTOCOL_VERSION: u8 = 1;
const METHOD_CALL: u8 = 1;
/// Size of what comes before a message's header fields, their length included.
pub(super) const HEAD_BYTES: usize = 16;
/// What the specification lets a message have.
const LIMIT_BYTES: usize = 128 << 20;

/// Says what is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// A call of a method.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) method: &'a str,
    pub(super) body: &'a [Value],
}

/// What kind a received message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) serial: u32,
    /// The number of the call that it answers.
    pub(super) reply_to: Option<u32>,
    /// The interface of a signal.
    pub(super) interface: Option<String>,
    /// The name of a signal.
    pub(super) member: Option<String>,
    pub(super) error: Option<String>,
    body: Vec<u8>,
}

impl Call<'_> {
    /// Returns the call as bytes, as number `serial` of its connection.
    pub(super) fn encode(&self, serial: u32) -> Vec<u8> {
        let fields = [
            (1, Field::Path(self.path)),
            (2, Field::Text(self.interface)),
            (3, Field::Text(self.method)),
            (6, Field::Text(self.destination)),
        ];
        encode(METHOD_CALL, serial, &fields, self.body)
    }
}

/// A header field's value.
enum Field<'a> {
    Path(&'a str),
    Text(&'a str),
    Signature(&'a str),
    #[cfg(test)]
    Number(u32),
}

impl Field<'_> {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Path(text) => {
                write_signature(bytes, "o");
                Value::text(*text).write(bytes);
            }
            Self::Text(text) => {
                write_signature(bytes, "s");
                Value::text(*text).write(bytes);
            }
            Self::Signature(text) => {
                write_signature(bytes, "g");
                write_signature(bytes, text);
            }
            #[cfg(test)]
            Self::Number(number) => {
                write_signature(bytes, "u");
                Value::Uint32(*number).write(bytes);
            }
        }
    }
}

fn encode(kind: u8, serial: u32, fields: &[(u8, Field<'_>)], body: &[Value]) -> Vec<u8> {
    let mut content = Vec::new();
    body.iter().for_each(|value| value.write(&mut content));
    let signature: String = body.iter().map(Value::signature).collect();
    let length = u32::try_from(content.len()).expect("a specification is smaller");
    let mut bytes = vec![BYTE_ORDER, kind, 0, PROTOCOL_VERSION];
    for number in [length, serial, 0] {
        Value::Uint32(number).write(&mut bytes);
    }
    let signature = (8, Field::Signature(&signature));
    for (code, field) in fields.iter().chain([&signature]) {
        pad(&mut bytes, 8);
        bytes.push(*code);
        field.write(&mut bytes);
    }
    let fields = u32::try_from(bytes.len() - HEAD_BYTES).expect("the fields are short");
    bytes[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&fields.to_ne_bytes());
    pad(&mut bytes, 8);
    bytes.extend(content);
    bytes
}

/// What the other side sends, in tests.
#[cfg(test)]
pub(super) mod sent {
    use super::{Field, Value, encode};

    /// Returns an answer to the call `serial`, an error where it has a name.
    pub(in crate::systemd) fn answer(serial: u32, error: Option<&str>, body: &[Value]) -> Vec<u8> {
        let mut fields = vec![(5, Field::Number(serial))];
        fields.extend(error.map(|name| (4, Field::Text(name))));
        let kind = if error.is_some() { 3 } else { 2 };
        encode(kind, 1, &fields, body)
    }

    /// Returns a signal.
    pub(in crate::systemd) fn signal(interface: &str, member: &str, body: &[Value]) -> Vec<u8> {
        let fields = [
            (1, Field::Path("/org/freedesktop/systemd1")),
            (2, Field::Text(interface)),
            (3, Field::Text(member)),
        ];
        encode(4, 1, &fields, body)
    }
}

impl Message {
    /// Returns how many bytes follow the head of a message.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn rest_bytes(head: &[u8; HEAD_BYTES]) -> Result<usize, Malformed> {
        if head[0] != BYTE_ORDER || head[3] != PROTOCOL_VERSION {
            return Err(Malformed("it is of another version or byte order"));
        }
        let mut reader = Reader { bytes: head, at: 4 };
        let (body, _, fields) = (reader.number()?, reader.number()?, reader.number()?);
        let whole = (fields as usize).next_multiple_of(8) + body as usize;
        match whole > LIMIT_BYTES {
            true => Err(Malformed("it is too long")),
            false => Ok(whole),
        }
    }

    /// Reads a message whose head was read by `rest_bytes`.
    ///
    /// # Errors
    /// When it is not well-formed.
    pub(super) fn decode(head: &[u8; HEAD_BYTES], rest: &[u8]) -> Result<Self, Malformed> {
        let kind = match head[1] {
            METHOD_CALL => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Err(Malformed("it is of no known type")),
        };
        let length = Reader {
            bytes: head,
            at: HEAD_BYTES - 4,
        }
        .number()? as usize;
        let fields = rest.get(..length).ok_or(SHORT)?;
        let body = rest.get(length.next_multiple_of(8)..).ok_or(SHORT)?;
        let serial = Reader { bytes: head, at: 8 }.number()?;
        let mut message = Self {
            kind,
            serial,
            reply_to: None,
            interface: None,
            member: None,
            error: None,
            body: body.to_vec(),
        };
        let mut reader = Reader {
            bytes: fields,
            at: 0,
        };
        while reader.at < fields.len() {
            message.take_field(&mut reader)?;
        }
        Ok(message)
    }

    fn take_field(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        if kind == "u" {
            let number = reader.number()?;
            if code == 5 {
                self.reply_to = Some(number);
            }
            return Ok(());
        }
        let text = match kind {
            "s" | "o" => reader.text()?,
            "g" => reader.signature()?,
            _ => return Err(Malformed("a header field is of no known type")),
        };
        match code {
            2 => self.interface = Some(text.to_owned()),
            3 => self.member = Some(text.to_owned()),
            4 => self.error = Some(text.to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// Reads the body.
    pub(super) fn body(&self) -> Reader<'_> {
        Reader {
            bytes: &self.body,
            at: 0,
        }
    }
}

const SHORT: Malformed = Malformed("it ends too early");

/// Reads values one after another.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, alignment: usize) {
        self.at = self.at.next_multiple_of(alignment);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// Reads a `u`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_ne_bytes(bytes.try_into().expect("it is four")))
    }

    /// Reads an `s` or an `o`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.number()? as usize;
        self.terminated(length)
    }

    /// Reads a `g`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn signature(&mut self) -> Result<&'a str, Malformed> {
        let length = usize::from(self.byte()?);
        self.terminated(length)
    }

    /// Reads an `s` in a `v`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn text_variant(&mut self) -> Result<&'a str, Malformed> {
        match self.signature()? {
            "s" => self.text(),
            _ => Err(Malformed("a property is no text")),
        }
    }

    fn terminated(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let text = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| Malformed("a text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: &[Value]) -> Vec<u8> {
        let call = Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            method: "StopUnit",
            body,
        };
        call.encode(7)
    }

    fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES).ok_or(SHORT)?;
        let head = head.try_into().unwrap();
        let count = Message::rest_bytes(head)?;
        Message::decode(head, rest.get(..count).ok_or(SHORT)?)
    }

    #[test]
    fn what_is_encoded_can_be_decoded() {
        let bytes = call(&[Value::text("a.scope"), Value::text("replace")]);
        let message = decode(&bytes).unwrap();
        assert_eq!(message.kind, Kind::Call);
        assert_eq!(message.member.as_deref(), Some("StopUnit"));
        let mut body = message.body();
        assert_eq!(body.text(), Ok("a.scope"));
        assert_eq!(body.text(), Ok("replace"));
        assert_eq!(body.text(), Err(SHORT));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_reply_of_a_daemon_is_read() {
        // What dbus-daemon answers to Hello.
        let bytes = b"l\x02\x01\x01\x0a\0\0\0\x01\0\0\0\x3d\0\0\0\
            \x06\x01s\0\x05\0\0\0:1.42\0\0\0\x05\x01u\0\x01\0\0\0\x08\x01g\0\x01s\0\0\
            \x07\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\x05\0\0\0:1.42\0";
        let message = decode(bytes).unwrap();
        assert_eq!((message.kind, message.reply_to), (Kind::Return, Some(1)));
        assert_eq!(message.body().text(), Ok(":1.42"));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = call(&[Value::texts(["a", "b"]), Value::Uint32(9)]);
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
        for place in 0..whole.len() {
            for value in [0, 1, 8, 127, 128, 255] {
                let mut bytes = whole.clone();
                bytes[place] = value;
                // Any answer will do.
                drop(decode(&bytes).map(|message| message.body().text_variant().is_ok()));
            }
        }
    }
}
