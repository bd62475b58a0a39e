//! The head of a filter: calls newer than its profile fail with ENOSYS.
//!
//! A C library tries a new call and, on ENOSYS, does it the old way. A profile
//! from before the call refuses it with its default, mostly EPERM, and the
//! program fails. As in runc, a call therefore counts as newer when its number
//! is larger than that of every call the profile names, for the architecture
//! it is made on; and it is told so where the default refuses, be it with an
//! errno or by killing, but not where the default lets it through or leaves it
//! to a tracer. It is not executed either way.
//!
//! The head stands before the program that libseccomp made, and jumps to its
//! first instruction for every other call; jumps are relative, so that one
//! stays as it is.

use super::bpf::{
    ARCHITECTURE_OFFSET, Instruction, NUMBER_OFFSET, Skip, if_at_least, if_equal, if_greater, jump,
    load, verdict,
};

/// The bit in a number that says a call on x86-64 is one of x32.
pub(super) const X32_BIT: u32 = 0x4000_0000;
/// The number that unknown multiplexed calls of s390 come with (`setup`, which
/// no kernel has had for decades).
const S390_MULTIPLEXER: u32 = 0;

const RETURN_ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// The largest numbers a profile names on one architecture of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The kernel's name of it, `AUDIT_ARCH_…`.
    pub(super) architecture: u32,
    pub(super) largest: Largest,
}

/// The largest numbers, by what tells calls of one architecture apart. `None`
/// where the profile names no call: nothing can be said to be newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Largest {
    Plain(u32),
    S390(u32),
    X86_64 {
        native: Option<u32>,
        /// With [`X32_BIT`] in it.
        x32: Option<u32>,
    },
}

/// Returns the head for these architectures, no two of which are the same; it
/// is empty without any.
pub(super) fn head(known: &[Known]) -> Vec<Instruction> {
    if known.is_empty() {
        return Vec::new();
    }
    let sections: Vec<_> = known.iter().map(section).collect();
    let mut length: usize = sections.iter().map(Vec::len).sum();
    let mut head = vec![load(ARCHITECTURE_OFFSET)];
    for mut section in sections {
        length -= section.len();
        section.pop();
        head.extend(section);
        head.push(jump(length as u32));
    }
    head
}

/// Returns what is done for calls of one architecture. The last instruction
/// stands for the jump behind the head, whose length is not known yet.
fn section(known: &Known) -> Vec<Instruction> {
    let tests = tests(known.largest);
    let to_next = Skip {
        if_true: 0,
        if_false: tests.len() as u8 + 3,
    };
    let mut section = vec![if_equal(known.architecture, to_next), load(NUMBER_OFFSET)];
    section.extend(tests);
    section.extend([verdict(RETURN_ENOSYS), jump(0)]);
    section
}

/// Returns the tests: one of them jumps over what is left of them to the
/// verdict, or one further, over it.
fn tests(largest: Largest) -> Vec<Instruction> {
    let skip = |if_true, if_false| Skip { if_true, if_false };
    match largest {
        Largest::Plain(number) => vec![if_greater(number, skip(0, 1))],
        Largest::S390(number) => vec![
            if_equal(S390_MULTIPLEXER, skip(1, 0)),
            if_greater(number, skip(0, 1)),
        ],
        Largest::X86_64 { native, x32 } => vec![
            if_at_least(X32_BIT, skip(1, 0)),
            if_greater(native.unwrap_or(u32::MAX), skip(1, 2)),
            if_greater(x32.unwrap_or(u32::MAX), skip(0, 1)),
        ],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::interpreter::{Call, judge};
    use super::*;

    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;
    const S390X: u32 = 0x8000_0016;
    const AARCH64: u32 = 0xc000_00b7;
    const THROUGH: u32 = 0x1234;

    fn verdict_of(known: &[Known], architecture: u32, number: u32) -> u32 {
        let mut program = head(known);
        program.push(verdict(THROUGH));
        let call = Call {
            architecture,
            number,
            ..Call::default()
        };
        judge(&program, &call).verdict
    }

    fn plain(architecture: u32, number: u32) -> Known {
        let largest = Largest::Plain(number);
        Known {
            architecture,
            largest,
        }
    }

    fn x86_64(native: Option<u32>, x32: Option<u32>) -> Known {
        Known {
            architecture: X86_64,
            largest: Largest::X86_64 { native, x32 },
        }
    }

    #[test]
    fn without_an_architecture_there_is_no_head() {
        assert!(head(&[]).is_empty());
    }

    #[test]
    fn only_numbers_beyond_the_largest_are_newer() {
        let both = Some(300);
        let x32 = Some(X32_BIT | 500);
        let s390 = Known {
            architecture: S390X,
            largest: Largest::S390(9),
        };
        let cases = [
            (vec![plain(I386, 7)], I386, 7, THROUGH),
            (vec![plain(I386, 7)], I386, 8, RETURN_ENOSYS),
            (vec![plain(I386, 7)], I386, u32::MAX, RETURN_ENOSYS),
            (vec![plain(I386, 7)], AARCH64, 8, THROUGH),
            (vec![s390], S390X, 0, RETURN_ENOSYS),
            (vec![s390], S390X, 9, THROUGH),
            (vec![s390], S390X, 10, RETURN_ENOSYS),
            (vec![x86_64(both, x32)], X86_64, 300, THROUGH),
            (vec![x86_64(both, x32)], X86_64, 301, RETURN_ENOSYS),
            (vec![x86_64(both, x32)], X86_64, X32_BIT - 1, RETURN_ENOSYS),
            (vec![x86_64(both, x32)], X86_64, X32_BIT, THROUGH),
            (vec![x86_64(both, x32)], X86_64, X32_BIT | 500, THROUGH),
            (
                vec![x86_64(both, x32)],
                X86_64,
                X32_BIT | 501,
                RETURN_ENOSYS,
            ),
            (vec![x86_64(both, x32)], X86_64, u32::MAX, RETURN_ENOSYS),
            (vec![x86_64(both, None)], X86_64, X32_BIT | 501, THROUGH),
            (vec![x86_64(both, None)], X86_64, 301, RETURN_ENOSYS),
            (vec![x86_64(None, x32)], X86_64, 301, THROUGH),
            (
                vec![x86_64(None, x32)],
                X86_64,
                X32_BIT | 501,
                RETURN_ENOSYS,
            ),
        ];
        for (known, architecture, number, expected) in cases {
            let verdict = verdict_of(&known, architecture, number);
            assert_eq!(verdict, expected, "{known:?} {architecture:#x} {number:#x}");
        }
    }

    proptest! {
        #[test]
        fn architectures_do_not_disturb_one_another(
            numbers in proptest::collection::vec(0_u32..1000, 1..25),
            at in 0_usize..25,
            number in 0_u32..1100,
        ) {
            let known: Vec<_> = (0..).zip(&numbers).map(|(a, n)| plain(a, *n)).collect();
            let newer = numbers.get(at).is_some_and(|largest| number > *largest);
            let expected = if newer { RETURN_ENOSYS } else { THROUGH };
            prop_assert_eq!(verdict_of(&known, at as u32, number), expected);
        }
    }
}
