//! From the OCI form to the BPF program that seccomp(2) takes, kept under its hash.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use sha2::{Digest, Sha256};

use super::Error;

/// Changes whenever the same profile would compile to another program.
const FORMAT: &str = "teu-seccomp-1";

/// Returns the path of the compiled program in `cache_dir`, compiling it if nobody has yet.
///
/// The file is an array of `struct sock_filter`. Two callers at once both compile and the later
/// rename wins, with the same bytes.
///
/// # Errors
/// Profiles that need a notifying process or that libseccomp refuses; a cache that cannot be
/// written.
pub fn compile(profile: &LinuxSeccomp, cache_dir: &Path) -> Result<PathBuf, Error> {
    let text = serde_json::to_vec(profile).map_err(Error::Decode)?;
    let mut hash = Sha256::new();
    hash.update(FORMAT);
    hash.update(std::env::consts::ARCH);
    hash.update(&text);
    let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = cache_dir.join(format!("{name}.bpf"));
    if path.is_file() {
        return Ok(path);
    }
    let program = program(profile)?;
    let write = || {
        std::fs::create_dir_all(cache_dir)?;
        linux::fs::write_durable(&path, &program)
    };
    write().map_err(|source| Error::Write { path: path.clone(), source })?;
    Ok(path)
}

/// Compiles without the cache.
pub(super) fn program(profile: &LinuxSeccomp) -> Result<Vec<u8>, Error> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source: SeccompError| Error::Compile { what, source }
    };
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default).map_err(failed("default action"))?;
    filter.set_ctl_nnp(false).map_err(failed("no_new_privs"))?;
    for arch in profile.architectures().iter().flatten() {
        filter.add_arch(scmp_arch(*arch)?).map_err(failed(&format!("architecture {arch:?}")))?;
    }
    // A binary tree instead of a list: a few comparisons for the rarest call instead of hundreds.
    filter.set_ctl_optimize(2).map_err(failed("optimisation"))?;
    for rule in profile.syscalls().iter().flatten() {
        add(&mut filter, rule, default)?;
    }
    let mut whole = newer_calls(profile, default);
    export(&filter, &mut whole).map_err(|source| Error::Write { path: "memfd".into(), source })?;
    Ok(whole)
}

/// Appends the program to `whole`. libseccomp before 2.6 exports to descriptors only.
fn export(filter: &ScmpFilterContext, whole: &mut Vec<u8>) -> std::io::Result<()> {
    let memfd = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memfd);
    filter.export_bpf(&file).map_err(std::io::Error::other)?;
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(whole)?;
    Ok(())
}

fn add(
    filter: &mut ScmpFilterContext,
    rule: &LinuxSyscall,
    default: ScmpAction,
) -> Result<(), Error> {
    let action = action(rule.action(), rule.errno_ret())?;
    if action == default {
        // libseccomp refuses rules that change nothing.
        return Ok(());
    }
    let comparators: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(comparator).collect();
    for name in rule.names() {
        // Calls this libseccomp has not heard of are dealt with in front of its program.
        let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
        let added = if comparators.is_empty() {
            filter.add_rule(action, syscall).map(drop)
        } else {
            filter.add_rule_conditional(action, syscall, &comparators).map(drop)
        };
        added.map_err(|source| Error::Compile { what: format!("rule for {name}"), source })?;
    }
    Ok(())
}

fn comparator(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let index = u32::try_from(arg.index()).unwrap_or(u32::MAX);
    let (op, datum) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(index, op, datum)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction, Error> {
    let errno = errno.unwrap_or(1);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ScmpAction::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno.cast_signed()),
        LinuxSeccompAction::ScmpActTrace => {
            ScmpAction::Trace(u16::try_from(errno).unwrap_or(u16::MAX))
        }
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActNotify => return Err(Error::Unsupported("SCMP_ACT_NOTIFY")),
    })
}

fn scmp_arch(arch: Arch) -> Result<ScmpArch, Error> {
    Ok(match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        _ => return Err(Error::Unsupported("an architecture other than x86, arm, riscv and s390")),
    })
}

/// Calls that Debian's libseccomp (2.5.4) has no name for, with the number they have on every
/// 64-bit architecture.
const NEWER: &[(&str, u32)] = &[
    ("futex_waitv", 449),
    ("set_mempolicy_home_node", 450),
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
];
const NEWEST: u32 = 466;

/// The program's head, for 64-bit calls newer than libseccomp: the profile's answer for those
/// above, ENOSYS for what nobody had heard of when this was written, so that a libc that tries a
/// new call takes its fallback instead of believing EPERM. Everything else falls through.
fn newer_calls(profile: &LinuxSeccomp, default: ScmpAction) -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO_ENOSYS: u32 = 0x0005_0000 | 38;
    let audit_arch: u32 = match std::env::consts::ARCH {
        "x86_64" => 0xC000_003E,
        "aarch64" => 0xC000_00B7,
        "riscv64" => 0xC000_00F3,
        _ => return Vec::new(),
    };
    // Only a profile that denies by default wants exceptions; another has its say in full.
    if !matches!(default, ScmpAction::Errno(_)) {
        return Vec::new();
    }
    let allowed = |name: &str| {
        profile.syscalls().iter().flatten().any(|rule| {
            rule.action() == LinuxSeccompAction::ScmpActAllow
                && rule.args().is_none()
                && rule.names().iter().any(|own| own == name)
        })
    };
    let numbers: Vec<u32> = NEWER
        .iter()
        .filter(|(name, _)| ScmpSyscall::from_name(name).is_err() && allowed(name))
        .map(|(_, number)| *number)
        .collect();
    let count = u8::try_from(numbers.len()).unwrap_or(0);
    // Both returns stand at the end; whatever matches neither jumps over them. x32 calls carry bit
    // 30 and are libseccomp's business.
    let mut code: Vec<(u16, u8, u8, u32)> = vec![
        (LOAD, 0, 0, 4),
        (JUMP_EQUAL, 0, count + 5, audit_arch),
        (LOAD, 0, 0, 0),
        (JUMP_GREATER, count + 3, 0, 0x3FFF_FFFF),
    ];
    for (index, number) in (0u8..).zip(&numbers) {
        code.push((JUMP_EQUAL, count - index, 0, *number));
    }
    code.push((JUMP_GREATER, 1, 2, NEWEST));
    code.push((RETURN, 0, 0, ALLOW));
    code.push((RETURN, 0, 0, ERRNO_ENOSYS));
    let mut bytes = Vec::new();
    for (opcode, yes, no, value) in code {
        bytes.extend(opcode.to_ne_bytes());
        bytes.extend([yes, no]);
        bytes.extend(value.to_ne_bytes());
    }
    bytes
}
