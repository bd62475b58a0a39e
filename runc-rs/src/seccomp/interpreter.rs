//! Runs a filter as the kernel would, for tests: classic BPF on a call's
//! `struct seccomp_data`. It panics on a program the kernel would refuse.

use super::bpf::Instruction;

/// The size of `struct seccomp_data`.
const DATA_BYTES: usize = 64;
const SCRATCH_WORDS: usize = 16;

/// What a filter sees of a call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Call {
    pub(super) architecture: u32,
    pub(super) number: u32,
    pub(super) arguments: [u64; 6],
}

/// What came of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judgement {
    pub(super) verdict: u32,
    /// How many instructions it took.
    pub(super) steps: usize,
}

impl Call {
    fn to_bytes(self) -> [u8; DATA_BYTES] {
        let mut data = [0; DATA_BYTES];
        data[..4].copy_from_slice(&self.number.to_ne_bytes());
        data[4..8].copy_from_slice(&self.architecture.to_ne_bytes());
        // The instruction pointer stays zero.
        for (to, from) in data[16..].chunks_exact_mut(8).zip(self.arguments) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        data
    }
}

/// Returns what `program` makes of `call`.
#[track_caller]
pub(super) fn judge(program: &[Instruction], call: &Call) -> Judgement {
    let data = call.to_bytes();
    let (mut accumulator, mut index) = (0_u32, 0_u32);
    let mut scratch = [0_u32; SCRATCH_WORDS];
    let (mut at, mut steps) = (0, 0);
    loop {
        let one = program[at];
        steps += 1;
        at += 1;
        let operand = one.operand;
        let mut branch = |holds: bool| {
            at += usize::from(if holds { one.if_true } else { one.if_false });
        };
        match one.code {
            0x20 => accumulator = word(&data, operand),
            0x06 => {
                return Judgement {
                    verdict: operand,
                    steps,
                };
            }
            0x05 => at += operand as usize,
            0x15 => branch(accumulator == operand),
            0x25 => branch(accumulator > operand),
            0x35 => branch(accumulator >= operand),
            0x45 => branch(accumulator & operand != 0),
            0x54 => accumulator &= operand,
            0x00 => accumulator = operand,
            0x01 => index = operand,
            0x02 => scratch[operand as usize] = accumulator,
            0x60 => accumulator = scratch[operand as usize],
            0x07 => index = accumulator,
            0x87 => accumulator = index,
            code => panic!("no seccomp instruction: {code:#x}"),
        }
    }
}

fn word(data: &[u8], offset: u32) -> u32 {
    assert_eq!(offset % 4, 0, "the kernel takes whole words only");
    let at = offset as usize;
    u32::from_ne_bytes(data[at..at + 4].try_into().unwrap())
}
