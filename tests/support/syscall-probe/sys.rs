//! The system calls of the probe, for x86_64.

use std::arch::asm;
use std::io::PipeWriter;
use std::os::fd::AsRawFd as _;

const WRITE: u64 = 1;
const FORK: u64 = 57;
const EXIT: u64 = 60;
const WAIT4: u64 = 61;

/// Performs the call in a child, which writes the kernel's answer to `writer`.
/// Returns the child's process id.
pub(crate) fn fork_and_call(number: u64, arguments: [u64; 6], writer: &PipeWriter) -> i64 {
    // SAFETY: this program has one thread, so the child may go on like it.
    let child = unsafe { call(FORK, [0; 6]) };
    if child != 0 {
        assert!(child > 0, "cannot fork: {child}");
        return child;
    }
    // SAFETY: whatever the call does, only this child suffers; it allocates
    // nothing afterwards and uses two calls that even strict seccomp lets pass.
    unsafe {
        let answer = call(number, arguments).to_ne_bytes();
        let descriptor = writer.as_raw_fd() as u64;
        call(WRITE, [descriptor, answer.as_ptr() as u64, 8, 0, 0, 0]);
        call(EXIT, [0; 6]);
    }
    unreachable!("a process that exited does not go on")
}

/// Waits for the child to end.
pub(crate) fn wait(child: i64) {
    // SAFETY: null pointers ask for no status and no usage.
    unsafe { call(WAIT4, [child as u64, 0, 0, 0, 0, 0]) };
}

/// Returns the kernel's answer. Where the call makes a process or a thread, that
/// one ends at once: it may share this one's stack.
///
/// # Safety
/// The caller answers for what the call does to this process.
unsafe fn call(number: u64, arguments: [u64; 6]) -> i64 {
    let answer;
    // SAFETY: by the caller; the registers are those of the kernel's convention.
    unsafe {
        asm!(
            "syscall",
            "cmp {number}, 56", // clone
            "jne 2f",
            "test rax, rax",
            "jnz 2f",
            "mov eax, 60",
            "xor edi, edi",
            "syscall",
            "2:",
            number = in(reg) number,
            inlateout("rax") number => answer,
            inlateout("rdi") arguments[0] => _,
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    answer
}
