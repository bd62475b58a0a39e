//! Classic BPF as seccomp runs it: instructions, programs, and the few
//! operations this runtime writes itself.
//!
//! The kernel remembers which calls a filter always allows, but only where it
//! can follow the program: loads of number and architecture, jumps, `and` and
//! returns. What is written here stays within those.

use std::mem::size_of;

/// The kernel's limit for one program (`BPF_MAXINSNS`).
pub(super) const PROGRAM_LIMIT: usize = 4096;
/// The size of one instruction.
pub(super) const INSTRUCTION_BYTES: usize = size_of::<Instruction>();

/// Where the call's number is in `struct seccomp_data`.
pub(super) const NUMBER_OFFSET: u32 = 0;
/// Where its architecture is.
pub(super) const ARCHITECTURE_OFFSET: u32 = 4;

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const JUMP_GREATER_OR_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub(super) code: u16,
    /// How many instructions to skip when the condition holds.
    pub(super) if_true: u8,
    /// How many when it does not.
    pub(super) if_false: u8,
    pub(super) operand: u32,
}

/// A program that has at least one instruction and no more than the kernel
/// takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

/// How many instructions a conditional jump skips.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skip {
    pub(super) if_true: u8,
    pub(super) if_false: u8,
}

impl Program {
    /// Returns the program of these instructions, unless the kernel would
    /// refuse their number.
    pub(super) fn new(instructions: Vec<Instruction>) -> Option<Self> {
        let fits = (1..=PROGRAM_LIMIT).contains(&instructions.len());
        fits.then_some(Self(instructions))
    }

    /// Returns the instructions.
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }

    /// Reads a program in the byte order of this machine.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(decode(bytes)?)
    }

    /// Returns the program in the byte order of this machine.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * INSTRUCTION_BYTES);
        for instruction in &self.0 {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.if_true, instruction.if_false]);
            bytes.extend(instruction.operand.to_ne_bytes());
        }
        bytes
    }
}

/// Reads instructions; `None` when the last is cut short.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Instruction>> {
    let (whole, rest) = bytes.as_chunks::<INSTRUCTION_BYTES>();
    let instruction =
        |[a, b, if_true, if_false, c, d, e, f]: &[u8; INSTRUCTION_BYTES]| Instruction {
            code: u16::from_ne_bytes([*a, *b]),
            if_true: *if_true,
            if_false: *if_false,
            operand: u32::from_ne_bytes([*c, *d, *e, *f]),
        };
    rest.is_empty()
        .then(|| whole.iter().map(instruction).collect())
}

/// Loads a word of `struct seccomp_data`.
pub(super) fn load(offset: u32) -> Instruction {
    plain(LOAD_WORD, offset)
}

/// Skips `count` instructions.
pub(super) fn jump(count: u32) -> Instruction {
    plain(JUMP, count)
}

/// Tests whether what was loaded is `value`.
pub(super) fn if_equal(value: u32, skip: Skip) -> Instruction {
    conditional(JUMP_EQUAL, value, skip)
}

/// Tests whether it is greater, without sign.
pub(super) fn if_greater(value: u32, skip: Skip) -> Instruction {
    conditional(JUMP_GREATER, value, skip)
}

/// Tests whether it is at least `value`, without sign.
pub(super) fn if_at_least(value: u32, skip: Skip) -> Instruction {
    conditional(JUMP_GREATER_OR_EQUAL, value, skip)
}

/// Ends the program with a verdict.
pub(super) fn verdict(value: u32) -> Instruction {
    plain(RETURN, value)
}

fn plain(code: u16, operand: u32) -> Instruction {
    Instruction {
        code,
        if_true: 0,
        if_false: 0,
        operand,
    }
}

fn conditional(code: u16, operand: u32, skip: Skip) -> Instruction {
    Instruction {
        code,
        if_true: skip.if_true,
        if_false: skip.if_false,
        operand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_survives_its_bytes() {
        let skip = Skip {
            if_true: 3,
            if_false: 0,
        };
        let instructions = vec![load(4), if_equal(0xc000_003e, skip), jump(7), verdict(1)];
        let program = Program::new(instructions).unwrap();
        let bytes = program.to_bytes();
        assert_eq!(bytes.len(), 32);
        assert_eq!(Program::from_bytes(&bytes), Some(program));
        assert_eq!(Program::from_bytes(&bytes[..31]), None);
    }

    #[test]
    fn a_program_the_kernel_would_refuse_is_none() {
        assert_eq!(Program::new(Vec::new()), None);
        assert!(Program::new(vec![verdict(0); PROGRAM_LIMIT]).is_some());
        assert_eq!(Program::new(vec![verdict(0); PROGRAM_LIMIT + 1]), None);
    }
}
