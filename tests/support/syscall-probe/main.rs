//! Performs raw system calls, one child each, and prints what the kernel said.
//!
//! Runs inside containers of any image, so it is built static and alone, by the
//! build script of the package `tests`. Each argument is a call,
//! `NUMBER[:ARGUMENT,…]`, numbers decimal or `0x…`, missing arguments 0. For
//! each a line `<call> <answer>` is printed: `ok`, an errno, or `died`. The last
//! argument may be `hold`: the program then stays until it is killed.

mod sys;

use std::io::Read as _;

fn main() {
    for word in std::env::args().skip(1) {
        if word == "hold" {
            std::thread::park();
        }
        match parse(&word) {
            Some((number, arguments)) => println!("{word} {}", answer(number, arguments)),
            None => println!("{word} not understood"),
        }
    }
}

fn parse(word: &str) -> Option<(u64, [u64; 6])> {
    let (number, rest) = word.split_once(':').unwrap_or((word, ""));
    let mut arguments = [0; 6];
    let given = rest.split(',').filter(|argument| !argument.is_empty());
    for (index, argument) in given.enumerate() {
        *arguments.get_mut(index)? = parse_number(argument)?;
    }
    Some((parse_number(number)?, arguments))
}

fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Performs the call in a child, since some end or change their caller.
fn answer(number: u64, arguments: [u64; 6]) -> String {
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let child = sys::fork_and_call(number, arguments, &writer);
    drop(writer);
    let mut result = [0; 8];
    let read = reader.read_exact(&mut result);
    sys::wait(child);
    match (read, i64::from_ne_bytes(result)) {
        (Err(_), _) => "died".to_owned(),
        (Ok(()), error @ -4095..0) => (-error).to_string(),
        (Ok(()), _) => "ok".to_owned(),
    }
}
