//! The device policy as a program of the kernel's virtual machine (eBPF), for
//! v2, which has no files for it.
//!
//! The program goes through the exceptions from the last to the first and
//! strikes what each allows off the accesses asked for, until none is left or
//! one is denied. It calls nothing, jumps forward only, and has no maps.

use super::{DeviceKind, DevicePolicy, Exception, Verdict};
use crate::sys::bpf::Instruction;

/// The result; 1 allows.
const RESULT: u8 = 0;
/// Points to the question: kind and access, major, minor, 32 bits each.
const QUESTION: u8 = 1;
const ACCESS: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// What the kernel calls a block device, `BPF_DEVCG_DEV_BLOCK`.
const KIND_BLOCK: i32 = 1;
/// What the kernel calls a character device, `BPF_DEVCG_DEV_CHAR`.
const KIND_CHARACTER: i32 = 2;
const KIND_MASK: i32 = 0xffff;
const ACCESS_SHIFT: i32 = 16;
const ACCESS_MASK: i32 = 7;

/// The operations used here; all work on the lower 32 bits of a register.
mod code {
    /// `BPF_LDX | BPF_MEM | BPF_W`
    pub(super) const LOAD: u8 = 0x61;
    /// `BPF_ALU | BPF_MOV | BPF_X`
    pub(super) const MOVE: u8 = 0xbc;
    /// `BPF_ALU | BPF_MOV | BPF_K`
    pub(super) const SET: u8 = 0xb4;
    /// `BPF_ALU | BPF_AND | BPF_K`
    pub(super) const AND: u8 = 0x54;
    /// `BPF_ALU | BPF_RSH | BPF_K`
    pub(super) const SHIFT_RIGHT: u8 = 0x74;
    /// `BPF_JMP32 | BPF_JNE | BPF_K`
    pub(super) const JUMP_IF_NOT_EQUAL: u8 = 0x56;
    /// `BPF_JMP32 | BPF_JSET | BPF_K`
    pub(super) const JUMP_IF_ANY_BIT: u8 = 0x46;
    /// `BPF_JMP | BPF_JA`
    pub(super) const JUMP: u8 = 0x05;
    /// `BPF_JMP | BPF_EXIT`
    pub(super) const EXIT: u8 = 0x95;
}

/// Returns the program that enforces `policy`.
pub fn compile(policy: &DevicePolicy) -> Vec<Instruction> {
    let mut program = vec![
        load(KIND, 0),
        Instruction::new(code::MOVE, ACCESS, KIND, 0, 0),
        immediate(code::AND, KIND, KIND_MASK),
        immediate(code::SHIFT_RIGHT, ACCESS, ACCESS_SHIFT),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for exception in policy.exceptions.iter().rev() {
        program.extend(compile_exception(exception));
    }
    program.extend(verdict(policy.default));
    program
}

/// Compares kind and numbers, and goes past the decision where one differs.
fn compile_exception(exception: &Exception) -> Vec<Instruction> {
    let decision = compile_decision(exception);
    let kind = match exception.kind {
        DeviceKind::Block => KIND_BLOCK,
        DeviceKind::Character => KIND_CHARACTER,
    };
    // The kernel compares 32 bits; the sign is only how they are written down.
    let numbers = [(MAJOR, exception.major), (MINOR, exception.minor)];
    let numbers = numbers
        .into_iter()
        .filter_map(|(register, number)| Some((register, number?.cast_signed())));
    let wanted: Vec<_> = std::iter::once((KIND, kind)).chain(numbers).collect();
    let mut block = Vec::new();
    for (done, (register, number)) in wanted.iter().enumerate() {
        let rest = wanted.len() - done - 1 + decision.len();
        block.push(Instruction::new(
            code::JUMP_IF_NOT_EQUAL,
            *register,
            0,
            forward(rest),
            *number,
        ));
    }
    block.extend(decision);
    block
}

/// What to do once the device matches.
fn compile_decision(exception: &Exception) -> Vec<Instruction> {
    let access = i32::from(exception.access.bits());
    let mut block = Vec::new();
    let is_partial = access != ACCESS_MASK;
    match exception.verdict {
        Verdict::Deny if is_partial => {
            block.push(Instruction::new(
                code::JUMP_IF_ANY_BIT,
                ACCESS,
                0,
                1,
                access,
            ));
            block.push(Instruction::new(code::JUMP, 0, 0, 2, 0));
        }
        Verdict::Allow if is_partial => {
            block.push(immediate(code::AND, ACCESS, ACCESS_MASK & !access));
            block.push(Instruction::new(code::JUMP_IF_NOT_EQUAL, ACCESS, 0, 2, 0));
        }
        Verdict::Deny | Verdict::Allow => {}
    }
    block.extend(verdict(exception.verdict));
    block
}

fn verdict(verdict: Verdict) -> [Instruction; 2] {
    let result = match verdict {
        Verdict::Allow => 1,
        Verdict::Deny => 0,
    };
    [
        immediate(code::SET, RESULT, result),
        Instruction::new(code::EXIT, 0, 0, 0, 0),
    ]
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction::new(code::LOAD, register, QUESTION, offset, 0)
}

fn immediate(code: u8, register: u8, value: i32) -> Instruction {
    Instruction::new(code, register, 0, 0, value)
}

fn forward(distance: usize) -> i16 {
    i16::try_from(distance).expect("one exception has a handful of instructions")
}
