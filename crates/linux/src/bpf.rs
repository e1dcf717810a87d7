//! The few eBPF instructions and calls that a cgroup v2 device program takes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One instruction of the kernel's virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    const fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Self {
        Self { code, registers: (from << 4) | to, offset, immediate }
    }

    /// `to = *(u32 *)(from + offset)`
    pub const fn load_word(to: u8, from: u8, offset: i16) -> Self {
        Self::new(0x61, to, from, offset, 0)
    }

    /// `to = from`, 32 bits.
    pub const fn move_register(to: u8, from: u8) -> Self {
        Self::new(0xbc, to, from, 0, 0)
    }

    /// `to = value`
    pub const fn move_value(to: u8, value: i32) -> Self {
        Self::new(0xb7, to, 0, 0, value)
    }

    /// `to &= value`, 32 bits.
    pub const fn and(to: u8, value: i32) -> Self {
        Self::new(0x54, to, 0, 0, value)
    }

    /// `to >>= bits`, 32 bits, unsigned.
    pub const fn shift_right(to: u8, bits: i32) -> Self {
        Self::new(0x74, to, 0, 0, bits)
    }

    /// Jumps over `count` instructions if `register == value`.
    pub const fn jump_if_equal(register: u8, value: i32, count: i16) -> Self {
        Self::new(0x15, register, 0, count, value)
    }

    /// Jumps over `count` instructions if `register != value`.
    pub const fn jump_unless_equal(register: u8, value: i32, count: i16) -> Self {
        Self::new(0x55, register, 0, count, value)
    }

    /// Jumps over `count` instructions if `left != right`.
    pub const fn jump_unless_same(left: u8, right: u8, count: i16) -> Self {
        Self::new(0x5d, left, right, count, 0)
    }

    /// Returns register 0.
    pub const fn exit() -> Self {
        Self::new(0x95, 0, 0, 0, 0)
    }
}

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Verifies and loads a program for the cgroup device hook.
///
/// # Errors
/// As bpf(2); `EINVAL` or `EACCES` for a program the verifier refuses.
pub fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let load = Load {
        program_type: PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: `load` is a prefix of the union of the size given; what it points to outlives the
    // call, and the kernel copies it.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, PROG_LOAD, std::ptr::from_ref(&load), size_of::<Load>())
    };
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor just now; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `program` the only program of its kind that this process attached to `cgroup`; programs
/// further up stay in force.
///
/// # Errors
/// As bpf(2).
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let number = |fd: i32| u32::try_from(fd).map_err(|_| io::ErrorKind::InvalidInput);
    let attach = Attach {
        target: number(cgroup.as_fd().as_raw_fd())?,
        program: number(program.as_fd().as_raw_fd())?,
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        // Overridable: attaching again replaces, and a container's own sub-cgroups may add.
        flags: 1,
    };
    // SAFETY: `attach` is a prefix of the union of the size given and outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, PROG_ATTACH, std::ptr::from_ref(&attach), size_of::<Attach>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
