//! The few parts of a DNS message that are needed: reading a question, writing
//! an answer. Input comes from containers and is hostile: every read is bounded,
//! compression is not followed (a question has none), no loop depends on a
//! count that the message claims.

use std::net::IpAddr;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 12;
/// A name on the wire is no longer (RFC 1035, 3.1).
const NAME_BYTES: usize = 255;
const LABEL_BYTES: usize = 63;
/// Answers that fit into 512 bytes whatever the name is, of IPv4 and of IPv6.
const ANSWER_LIMIT: usize = 14;
const ANSWER_LIMIT_IPV6: usize = 8;
/// A pointer to the question's name, which follows the header.
const QUESTION_NAME: [u8; 2] = [0xc0, 0x0c];

const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
const AA: u8 = 0x04;
const RD: u8 = 0x01;
const RA: u8 = 0x80;
const CLASS_IN: u16 = 1;

/// `A`.
pub const TYPE_A: u16 = 1;
/// `AAAA`.
pub const TYPE_AAAA: u16 = 28;
/// `PTR`.
pub const TYPE_PTR: u16 = 12;

/// Why a message is not a question we can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not even an error can be answered: too short, or itself an answer.
    Ignore,
    /// The header is whole; the rest is not.
    Format,
    /// Something else than a query.
    NotQuery,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub id: u16,
    pub recursion_desired: bool,
    /// Lower case, without the last dot; `None` if it is no host name.
    pub name: Option<String>,
    pub kind: u16,
    pub class: u16,
    /// Where the question section ends.
    pub end: usize,
}

impl Question {
    /// Returns whether it is asked in the only class with names of ours.
    pub fn is_internet(&self) -> bool {
        self.class == CLASS_IN
    }
}

/// Reads the question of a query.
///
/// # Errors
/// When there is none, or not exactly one.
pub fn parse(message: &[u8]) -> Result<Question, Malformed> {
    let header: &[u8; HEADER_BYTES] = message.first_chunk().ok_or(Malformed::Ignore)?;
    if header[2] & QR != 0 {
        return Err(Malformed::Ignore);
    }
    if header[2] & OPCODE != 0 {
        return Err(Malformed::NotQuery);
    }
    if header[4..6] != [0, 1] {
        return Err(Malformed::Format);
    }
    let (name, after) = parse_name(message, HEADER_BYTES).ok_or(Malformed::Format)?;
    let tail = message.get(after..after + 4).ok_or(Malformed::Format)?;
    Ok(Question {
        id: u16::from_be_bytes([header[0], header[1]]),
        recursion_desired: header[2] & RD != 0,
        name,
        kind: u16::from_be_bytes([tail[0], tail[1]]),
        class: u16::from_be_bytes([tail[2], tail[3]]),
        end: after + 4,
    })
}

/// Returns a name and where it ends. Each round moves at least one byte on.
fn parse_name(message: &[u8], start: usize) -> Option<(Option<String>, usize)> {
    let mut text = Some(String::new());
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((text, at));
        }
        if length > LABEL_BYTES || at + length - start > NAME_BYTES {
            return None; // a compression pointer, or too long
        }
        let label = message.get(at..at + length)?;
        at += length;
        let is_text = label
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b'.');
        text = text.filter(|_| is_text).map(|mut text| {
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(
                label
                    .iter()
                    .map(|byte| char::from(byte.to_ascii_lowercase())),
            );
            text
        });
    }
}

/// How a question is answered without data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    NoError = 0,
    Format = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// Returns an answer with addresses of the type that is asked for, or none where
/// the name has no such data.
pub fn addresses(query: &[u8], question: &Question, addresses: &[IpAddr], ttl: u32) -> Vec<u8> {
    let limit = match question.kind {
        TYPE_AAAA => ANSWER_LIMIT_IPV6,
        _ => ANSWER_LIMIT,
    };
    let of_kind = |address: &&IpAddr| record_type(address) == question.kind;
    let taken: Vec<&IpAddr> = addresses.iter().filter(of_kind).take(limit).collect();
    let mut message = begin(query, question, Code::NoError, taken.len());
    for address in taken {
        match address {
            IpAddr::V4(ip) => record(&mut message, TYPE_A, ttl, &ip.octets()),
            IpAddr::V6(ip) => record(&mut message, TYPE_AAAA, ttl, &ip.octets()),
        }
    }
    message
}

/// Returns the type of the records that hold such addresses.
pub fn record_type(address: &IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => TYPE_A,
        IpAddr::V6(_) => TYPE_AAAA,
    }
}

/// Returns an answer with a name; one that cannot be a name is a server failure.
pub fn pointer(query: &[u8], question: &Question, name: &str, ttl: u32) -> Vec<u8> {
    let Some(name) = encode_name(name) else {
        return code(query, question, Code::ServerFailure);
    };
    let mut message = begin(query, question, Code::NoError, 1);
    record(&mut message, TYPE_PTR, ttl, &name);
    message
}

/// Returns an answer without data.
pub fn code(query: &[u8], question: &Question, code: Code) -> Vec<u8> {
    begin(query, question, code, 0)
}

/// Returns the answer to a message whose question cannot be read.
pub fn error(query: &[u8], code: Code) -> Option<Vec<u8>> {
    let header: &[u8; HEADER_BYTES] = query.first_chunk()?;
    let mut message = vec![0; HEADER_BYTES];
    message[..2].copy_from_slice(&header[..2]);
    message[2] = QR | header[2] & (OPCODE | RD);
    message[3] = RA | code as u8;
    Some(message)
}

/// Returns whether `answer` answers `query` under the id `id`.
pub fn answers(answer: &[u8], query: &[u8], question: &Question, id: u16) -> bool {
    let same_question = || {
        let asked = query.get(HEADER_BYTES..question.end);
        let repeated = answer.get(HEADER_BYTES..question.end);
        let without = answer.get(4..6) == Some(&[0, 0]);
        without || (asked.is_some() && asked == repeated)
    };
    answer.len() >= HEADER_BYTES
        && answer[..2] == id.to_be_bytes()
        && answer[2] & QR != 0
        && same_question()
}

/// Puts another id into a message.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(at) = message.first_chunk_mut() {
        *at = id.to_be_bytes();
    }
}

fn begin(query: &[u8], question: &Question, code: Code, answers: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(512);
    message.extend(question.id.to_be_bytes());
    message.push(QR | AA | if question.recursion_desired { RD } else { 0 });
    message.push(RA | code as u8);
    let answers = u16::try_from(answers).expect("answers are limited");
    for count in [1, answers, 0, 0] {
        message.extend(count.to_be_bytes());
    }
    message.extend(query.get(HEADER_BYTES..question.end).unwrap_or_default());
    message
}

fn record(message: &mut Vec<u8>, kind: u16, ttl: u32, data: &[u8]) {
    message.extend(QUESTION_NAME);
    message.extend(kind.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message.extend(ttl.to_be_bytes());
    message.extend(
        u16::try_from(data.len())
            .expect("a name is short")
            .to_be_bytes(),
    );
    message.extend(data);
}

fn encode_name(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if length == 0 || label.len() > LABEL_BYTES {
            return None;
        }
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= NAME_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(encode_name(name).unwrap());
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    #[test]
    fn a_question_is_read_in_lower_case() {
        let question = parse(&query("Web.Example", TYPE_A)).unwrap();
        assert_eq!(question.name.as_deref(), Some("web.example"));
        assert_eq!(
            (question.id, question.kind, question.class),
            (0x1234, TYPE_A, 1)
        );
        let mut root = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        root.extend([0, 0, 2, 0, 1]);
        assert_eq!(parse(&root).unwrap().name.as_deref(), Some(""));
    }

    #[test]
    fn every_cut_of_a_question_is_refused_without_a_panic() {
        let whole = query("a.very.long.name.example", TYPE_A);
        for cut in 0..whole.len() {
            let expected = if cut < HEADER_BYTES {
                Malformed::Ignore
            } else {
                Malformed::Format
            };
            assert_eq!(parse(&whole[..cut]), Err(expected), "{cut}");
        }
    }

    #[test]
    fn any_byte_may_be_anything() {
        let whole = query("web", TYPE_A);
        for at in 0..whole.len() {
            for value in 0..=255 {
                let mut message = whole.clone();
                message[at] = value;
                if let Ok(question) = parse(&message) {
                    let answer = addresses(&message, &question, &[Ipv4Addr::LOCALHOST.into()], 1);
                    assert!(question.end <= message.len() && answer.len() <= 512);
                }
            }
        }
    }

    #[test]
    fn hostile_questions_are_refused() {
        let with = |bytes: &[u8]| {
            let mut message = query("web", TYPE_A);
            message.truncate(HEADER_BYTES);
            message.extend(bytes);
            parse(&message)
        };
        assert_eq!(
            with(&[0xc0, 0x0c, 0, 1, 0, 1]),
            Err(Malformed::Format),
            "points to itself"
        );
        assert_eq!(with(&[64; 70]), Err(Malformed::Format), "long label");
        let long = [&[63; 64][..]; 5].concat();
        assert_eq!(with(&long), Err(Malformed::Format), "long name");
        let mut two = query("web", TYPE_A);
        two[5] = 2;
        assert_eq!(parse(&two), Err(Malformed::Format));
        let mut answer = query("web", TYPE_A);
        answer[2] |= QR;
        assert_eq!(parse(&answer), Err(Malformed::Ignore));
        let mut update = query("web", TYPE_A);
        update[2] |= 5 << 3;
        assert_eq!(parse(&update), Err(Malformed::NotQuery));
        assert_eq!(
            with(&[3, b'a', b'.', 0xff, 0, 0, 1, 0, 1]).unwrap().name,
            None
        );
    }

    #[test]
    fn an_answer_repeats_the_question_and_carries_the_data() {
        let message = query("web", TYPE_A);
        let question = parse(&message).unwrap();
        let answer = addresses(&message, &question, &[Ipv4Addr::new(10, 0, 0, 2).into()], 5);
        let mut expected = vec![0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        expected.extend(&message[HEADER_BYTES..]);
        expected.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 2]);
        assert_eq!(answer, expected);
        assert!(answers(&answer, &message, &question, 0x1234));
        assert!(!answers(&answer, &message, &question, 0x1235));
        assert!(!answers(&answer, &query("wxb", TYPE_A), &question, 0x1234));
        let many = vec![Ipv4Addr::LOCALHOST.into(); 1000];
        assert!(addresses(&message, &question, &many, 5).len() <= 512);
    }

    #[test]
    fn a_pointer_names_a_container() {
        let message = query("2.0.0.10.in-addr.arpa", TYPE_PTR);
        let question = parse(&message).unwrap();
        let answer = pointer(&message, &question, "web.mine", 5);
        assert!(answer.ends_with(b"\x03web\x04mine\0"));
        let bad = pointer(&message, &question, &"x".repeat(64), 5);
        assert_eq!(bad[3] & 0xf, Code::ServerFailure as u8);
    }

    #[test]
    fn an_answer_holds_addresses_of_the_type_that_was_asked_for() {
        let both = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let answer = |name: &str, kind, all: &[IpAddr]| {
            let message = query(name, kind);
            let question = parse(&message).unwrap();
            addresses(&message, &question, all, 5)
        };
        let six = answer("web", TYPE_AAAA, &both);
        assert_eq!(six[6..8], [0, 1]);
        let data = [&[0, 28, 0, 1, 0, 0, 0, 5, 0, 16][..], &[0; 15], &[1]].concat();
        assert!(six.ends_with(&data), "{six:?}");
        assert!(answer("web", TYPE_A, &both).ends_with(&[0, 4, 127, 0, 0, 1]));
        assert_eq!(answer("web", 16, &both)[6..8], [0, 0]);
        let longest = [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61),
        ]
        .join(".");
        let many = answer(&longest, TYPE_AAAA, &vec![Ipv6Addr::LOCALHOST.into(); 100]);
        assert!(many.len() <= 512 && many[7] == 8, "{}", many.len());
    }
}
