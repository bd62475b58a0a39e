//! Programs for the kernel's virtual machine (eBPF) that guard the devices of
//! a control group: loading, attaching, finding. See `bpf(2)`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
/// Programs of groups further up or down hold as well.
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// The kernel attaches no more to one group.
const PROGRAMS_LIMIT: usize = 64;
/// A signal can interrupt the check of a program.
const LOAD_ATTEMPTS: usize = 30;
/// The kernel wants one for the sake of functions this program does not call.
const LICENSE: &CStr = c"Apache-2.0";

/// One instruction, as the kernel reads it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    /// Destination and source, four bits each.
    registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

impl Instruction {
    /// Returns an instruction; what a code does not use is zero.
    pub fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        let registers = match cfg!(target_endian = "little") {
            true => destination | source << 4,
            false => source | destination << 4,
        };
        Self {
            code,
            registers,
            offset,
            immediate,
        }
    }

    /// Returns the register that is changed or compared.
    pub fn destination(&self) -> u8 {
        match cfg!(target_endian = "little") {
            true => self.registers & 0xf,
            false => self.registers >> 4,
        }
    }

    /// Returns the register that is read.
    pub fn source(&self) -> u8 {
        match cfg!(target_endian = "little") {
            true => self.registers >> 4,
            false => self.registers & 0xf,
        }
    }
}

// The parts of `union bpf_attr` used here; the kernel takes the rest as zero.

#[repr(C)]
struct LoadAttribute {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

#[repr(C)]
struct AttachAttribute {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

#[repr(C)]
struct IdAttribute {
    id: u32,
}

/// Longer than what is used of it: kernels from 6.17 on write the revision
/// whether or not there is room for it.
#[repr(C)]
struct QueryAttribute {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    id_count: u32,
    padding: u32,
    program_flags: u64,
    link_ids: u64,
    link_flags: u64,
    revision: u64,
}

/// Loads a program that decides about devices.
///
/// # Errors
/// `EPERM` without CAP_BPF or CAP_SYS_ADMIN in the first user namespace;
/// `EINVAL` or `EACCES` when the kernel finds it unsafe.
pub fn load_device_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let mut attribute = LoadAttribute {
        program_type: PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
    };
    let mut attempts = 0;
    loop {
        attempts += 1;
        // SAFETY: the attribute is the beginning of the one for this command;
        // its pointers are to the slice, of the length given, and to a string
        // that ends with NUL, and both live over the call.
        let result = unsafe { bpf(PROG_LOAD, &raw mut attribute) };
        match result {
            Err(error) if is_interrupted(&error) && attempts < LOAD_ATTEMPTS => {}
            result => return result.map(owned),
        }
    }
}

/// Attaches a program to the group `group`, in place of `replaced` if given.
///
/// # Errors
/// When the kernel is older than 5.6 and `replaced` is given; without the
/// privilege.
pub fn attach_device_program(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attribute = AttachAttribute {
        target: number(group),
        program: number(program),
        attach_type: CGROUP_DEVICE,
        flags: ALLOW_MULTI | replaced.map_or(0, |_| REPLACE),
        replaced: replaced.map_or(0, number),
    };
    // SAFETY: the attribute is the beginning of the one for this command and
    // has no pointers.
    unsafe { bpf(PROG_ATTACH, &raw mut attribute) }.map(drop)
}

/// Takes a program off the group `group`.
///
/// # Errors
/// When it is not attached there; without the privilege.
pub fn detach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attribute = AttachAttribute {
        target: number(group),
        program: number(program),
        attach_type: CGROUP_DEVICE,
        flags: 0,
        replaced: 0,
    };
    // SAFETY: as for attaching.
    unsafe { bpf(PROG_DETACH, &raw mut attribute) }.map(drop)
}

/// Returns the ids of the programs attached to the group `group` itself.
///
/// # Errors
/// Without the privilege.
pub fn attached_device_programs(group: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; PROGRAMS_LIMIT];
    let mut attribute = QueryAttribute {
        target: number(group),
        attach_type: CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        id_count: PROGRAMS_LIMIT as u32,
        padding: 0,
        program_flags: 0,
        link_ids: 0,
        link_flags: 0,
        revision: 0,
    };
    // SAFETY: the attribute is the whole of the one for this command; its one
    // pointer is to the ids, as many as it says, which live over the call.
    unsafe { bpf(PROG_QUERY, &raw mut attribute) }?;
    ids.truncate(attribute.id_count as usize);
    Ok(ids)
}

/// Opens the program with `id`.
///
/// # Errors
/// `ENOENT` when it is gone; without the privilege.
pub fn open_program(id: u32) -> io::Result<OwnedFd> {
    let mut attribute = IdAttribute { id };
    // SAFETY: the attribute is the beginning of the one for this command and
    // has no pointers.
    unsafe { bpf(PROG_GET_FD_BY_ID, &raw mut attribute) }.map(owned)
}

/// Makes the system call.
///
/// # Safety
/// The attribute must be a beginning of the one `command` takes, and every
/// pointer in it must be good for the size the attribute says.
unsafe fn bpf<T>(command: libc::c_int, attribute: *mut T) -> io::Result<RawFd> {
    // SAFETY: the attribute is as large as the size that is passed; the rest
    // is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute, size_of::<T>()) };
    match result {
        0.. => RawFd::try_from(result).map_err(io::Error::other),
        _ => Err(io::Error::last_os_error()),
    }
}

fn owned(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made it and nobody else knows of it; it is
    // close-on-exec already.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
