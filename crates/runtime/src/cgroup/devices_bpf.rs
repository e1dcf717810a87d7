//! Device rules as a program of the cgroup v2 device hook.
//!
//! v2 has no devices files: the kernel asks a program about each access. The rules are first
//! folded as v1 would hold them (a default and its exceptions), then compiled: per exception a
//! few compares that jump to the next one on a mismatch.

use std::io;
use std::path::Path;

use linux::bpf::{Instruction, attach_device_program, load_device_program};
use rustix::fs::{Mode, OFlags};

use super::devices::{Kind, MKNOD, READ, Rule, WRITE};

const ALL_ACCESS: u32 = MKNOD | READ | WRITE;
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// A default and the exceptions to it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Folded {
    allow_by_default: bool,
    exceptions: Vec<Rule>,
}

/// Replaces the device program of the cgroup at `directory`.
pub(super) fn attach(directory: &Path, rules: &[Rule]) -> io::Result<()> {
    let program = load_device_program(&compile(&fold(rules)))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cgroup = rustix::fs::open(directory, flags, Mode::empty())?;
    attach_device_program(&cgroup, &program)
}

fn fold(rules: &[Rule]) -> Folded {
    // Without any rule a v1 cgroup inherits everything.
    let mut folded = Folded { allow_by_default: true, exceptions: Vec::new() };
    for rule in rules {
        if rule.kind == Kind::All {
            folded = Folded { allow_by_default: rule.allow, exceptions: Vec::new() };
            continue;
        }
        let same = |other: &&mut Rule| {
            (other.kind, other.major, other.minor) == (rule.kind, rule.major, rule.minor)
        };
        let known = folded.exceptions.iter_mut().find(same);
        match (known, rule.allow == folded.allow_by_default) {
            // Back to the default: those accesses are no exception any more.
            (Some(known), true) => known.access &= !rule.access,
            (None, true) => {}
            (Some(known), false) => known.access |= rule.access,
            (None, false) => folded.exceptions.push(*rule),
        }
    }
    folded.exceptions.retain(|rule| rule.access != 0);
    folded
}

fn compile(folded: &Folded) -> Vec<Instruction> {
    use Instruction as I;
    // r2 type, r3 access wanted, r4 major, r5 minor.
    let mut program = vec![
        I::load_word(2, 1, 0),
        I::move_register(3, 2),
        I::and(2, 0xffff),
        I::shift_right(3, 16),
        I::load_word(4, 1, 4),
        I::load_word(5, 1, 8),
    ];
    for rule in &folded.exceptions {
        program.extend(exception(rule, folded.allow_by_default));
    }
    program.extend([I::move_value(0, i32::from(folded.allow_by_default)), I::exit()]);
    program
}

fn exception(rule: &Rule, allow_by_default: bool) -> Vec<Instruction> {
    use Instruction as I;
    let mut tests: Vec<Box<dyn Fn(i16) -> Vec<I>>> = Vec::new();
    let kind = match rule.kind {
        Kind::All => None,
        Kind::Block => Some(BLOCK),
        Kind::Character => Some(CHARACTER),
    };
    if let Some(kind) = kind {
        tests.push(Box::new(move |next| vec![I::jump_unless_equal(2, kind, next)]));
    }
    let access = rule.access.cast_signed();
    if allow_by_default {
        // Denied if any of what is wanted is forbidden.
        tests.push(Box::new(move |next| {
            vec![I::move_register(1, 3), I::and(1, access), I::jump_if_equal(1, 0, next)]
        }));
    } else if rule.access != ALL_ACCESS {
        // Allowed only if all that is wanted is allowed.
        tests.push(Box::new(move |next| {
            vec![I::move_register(1, 3), I::and(1, access), I::jump_unless_same(1, 3, next)]
        }));
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number {
            let number = number.cast_signed();
            tests.push(Box::new(move |next| vec![I::jump_unless_equal(register, number, next)]));
        }
    }
    let verdict = [I::move_value(0, i32::from(!allow_by_default)), I::exit()];
    // Jump offsets count from the instruction after the jump, the last of each test.
    let mut after = verdict.len();
    let mut blocks = vec![verdict.to_vec()];
    for test in tests.iter().rev() {
        let next = i16::try_from(after).expect("an exception is a dozen instructions");
        let block = test(next);
        after += block.len();
        blocks.push(block);
    }
    blocks.into_iter().rev().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: Kind, major: Option<u32>, access: u32) -> Rule {
        Rule { allow, kind, major, minor: None, access }
    }

    #[test]
    fn a_general_rule_resets_and_exceptions_merge() {
        let folded = fold(&[
            rule(true, Kind::Character, Some(9), READ),
            rule(false, Kind::All, None, ALL_ACCESS),
            rule(true, Kind::Character, Some(1), READ),
            rule(true, Kind::Character, Some(1), WRITE),
            rule(true, Kind::Block, Some(8), READ),
            rule(false, Kind::Block, Some(8), READ),
        ]);
        let expected = vec![rule(true, Kind::Character, Some(1), READ | WRITE)];
        assert_eq!(folded, Folded { allow_by_default: false, exceptions: expected });
    }

    #[test]
    fn the_kernel_accepts_the_program() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        for allow_by_default in [false, true] {
            let rules = [
                rule(allow_by_default, Kind::All, None, ALL_ACCESS),
                rule(!allow_by_default, Kind::Character, Some(1), READ),
                rule(!allow_by_default, Kind::Block, None, ALL_ACCESS),
            ];
            load_device_program(&compile(&fold(&rules))).unwrap();
        }
    }
}
