//! What must hold for netd's reading of questions whatever a container sends.

#[expect(dead_code, reason = "the module is netd's; not all of it is used here")]
#[path = "../../netd/src/dns/message.rs"]
mod message;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use message::{Code, HEADER_BYTES, Malformed, Question};

/// A name is answered in one datagram that every client takes (RFC 1035, 2.3.4).
const DATAGRAM: usize = 512;

/// Panics if a question or the answers to it contradict each other.
pub(crate) fn check(bytes: &[u8]) {
    match message::parse(bytes) {
        Ok(question) => {
            check_question(bytes, &question);
            check_answers(bytes, &question);
        }
        Err(Malformed::Ignore) => {}
        Err(Malformed::Format | Malformed::NotQuery) => {
            let answer = message::error(bytes, Code::Format).expect("the header is whole");
            assert_eq!(answer.len(), HEADER_BYTES);
            assert_eq!(answer[..2], bytes[..2]);
            assert_ne!(
                answer[2] & 0x80,
                0,
                "an answer, or two servers could talk for ever"
            );
        }
    }
}

fn check_question(bytes: &[u8], question: &Question) {
    assert!(question.end > HEADER_BYTES && question.end <= bytes.len());
    let Some(name) = &question.name else { return };
    assert!(name.len() <= 255 && name.is_ascii());
    assert!(!name.contains(char::is_uppercase) && !name.contains(char::is_whitespace));
    // What follows the question changes nothing.
    assert_eq!(
        message::parse(&bytes[..question.end]).as_ref(),
        Ok(question)
    );
}

fn check_answers(bytes: &[u8], question: &Question) {
    let addresses: Vec<IpAddr> = (0..40)
        .flat_map(|last| {
            let six = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last));
            [Ipv4Addr::new(10, 0, 0, last).into(), six.into()]
        })
        .collect();
    let name = question.name.clone().unwrap_or_default();
    for mut answer in [
        message::addresses(bytes, question, &addresses, 1),
        message::addresses(bytes, question, &[], 1),
        message::pointer(bytes, question, &name, 1),
        message::code(bytes, question, Code::NoSuchName),
    ] {
        assert!(answer.len() <= DATAGRAM + 255, "{}", answer.len());
        assert!(message::answers(&answer, bytes, question, question.id));
        message::set_id(&mut answer, question.id ^ 1);
        assert!(!message::answers(&answer, bytes, question, question.id));
        assert_eq!(message::parse(&answer), Err(Malformed::Ignore));
    }
}
