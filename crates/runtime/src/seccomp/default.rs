//! The default profile: what containers may ask of the kernel unless they are told otherwise.
//!
//! The semantics are those of Docker's default profile (moby/profiles, seccomp): a system call not
//! listed fails with EPERM, so that programs take their fallback. io_uring is not listed, nor are
//! AF_VSOCK and AF_ALG sockets; namespaces may not be made without CAP_SYS_ADMIN.

use super::profile::{ArchMap, Argument, Condition, Profile, Rule};

const ALLOW: &str = "SCMP_ACT_ALLOW";

/// Flags of clone(2) that make namespaces: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;

/// Allowed to everybody with any arguments, by theme.
const ALWAYS: &str = "
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek _llseek
    open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 ioctl flock
    stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64
    access faccessat faccessat2 chmod fchmod fchmodat fchmodat2
    chown chown32 lchown lchown32 fchown fchown32 fchownat umask
    link linkat unlink unlinkat symlink symlinkat readlink readlinkat rename renameat renameat2
    mkdir mkdirat mknod mknodat rmdir getdents getdents64 chdir fchdir getcwd
    truncate truncate64 ftruncate ftruncate64 fallocate fadvise64 fadvise64_64 readahead
    sync syncfs fsync fdatasync sync_file_range utime utimes futimesat utimensat utimensat_time64
    getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat
    listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat
    name_to_handle_at listmount statmount cachestat copy_file_range
    sendfile sendfile64 splice tee vmsplice pipe pipe2
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
    select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
    eventfd eventfd2 signalfd signalfd4 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
    io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    brk mmap mmap2 munmap mremap mprotect madvise mincore msync mseal remap_file_pages
    mlock mlock2 mlockall munlock munlockall membarrier map_shadow_stack
    memfd_create memfd_secret pkey_alloc pkey_free pkey_mprotect process_mrelease
    shmget shmat shmctl shmdt semget semctl semop semtimedop semtimedop_time64
    msgget msgctl msgrcv msgsnd ipc mq_open mq_unlink mq_notify mq_getsetattr
    mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    futex futex_time64 futex_wait futex_waitv futex_wake futex_requeue
    get_robust_list set_robust_list rseq
    fork vfork execve execveat exit exit_group wait4 waitid waitpid
    kill tkill tgkill pause alarm pidfd_open pidfd_send_signal
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn
    getpid getppid gettid getpgid getpgrp getsid setsid setpgid
    getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32
    getresuid getresuid32 getresgid getresgid32 getgroups getgroups32
    setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32
    setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32
    setgroups setgroups32 capget capset prctl seccomp
    landlock_create_ruleset landlock_add_rule landlock_restrict_self
    getrlimit ugetrlimit setrlimit prlimit64 getrusage getpriority setpriority ioprio_get ioprio_set
    sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr
    sched_getparam sched_setparam sched_getscheduler sched_setscheduler
    sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64
    getcpu getrandom sysinfo uname times time gettimeofday nanosleep
    clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 adjtimex clock_adjtime clock_adjtime64
    getitimer setitimer timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64
    set_tid_address get_thread_area set_thread_area restart_syscall uretprobe riscv_hwprobe
    socketcall socketpair bind listen accept accept4 connect shutdown getsockname getpeername
    getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64
";

/// Allowed with a capability.
const WITH_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog
         umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Allowed on an architecture (Go's words).
const ON_ARCHITECTURE: &[(&[&str], &str)] = &[
    (&["amd64"], "arch_prctl modify_ldt"),
    (
        &["arm64"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
    (&["riscv64"], "riscv_flush_icache"),
];

/// Address families a socket may have besides those below 12. Left out: 19, 20, 23, 25 and 34
/// (gone from the kernel), AF_CAN's neighbours without users, AF_ALG (38) and AF_VSOCK (40), which
/// reach the hypervisor or kernel code that containers have been broken out through.
const SOCKET_FAMILIES: &[u64] = &[
    13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44,
    45,
];

/// Execution domains: Linux, 32-bit Linux, both without randomised addresses' short forms, "tell me".
const PERSONALITIES: &[u64] = &[0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

impl Profile {
    /// Docker's default.
    pub fn docker_default() -> Self {
        let mut rules = vec![allow(ALWAYS)];
        rules.push(Rule {
            includes: kernel("4.8"),
            ..allow("process_vm_readv process_vm_writev ptrace")
        });
        rules.push(Rule { args: arguments(0, 12, "SCMP_CMP_LT"), ..allow("socket") });
        for family in SOCKET_FAMILIES {
            rules.push(Rule { args: arguments(0, *family, "SCMP_CMP_EQ"), ..allow("socket") });
        }
        for personality in PERSONALITIES {
            rules.push(Rule {
                args: arguments(0, *personality, "SCMP_CMP_EQ"),
                ..allow("personality")
            });
        }
        for (arches, names) in ON_ARCHITECTURE {
            let arches = arches.iter().map(|&arch| arch.to_owned()).collect();
            let includes = Some(Condition { arches: Some(arches), ..Condition::default() });
            rules.push(Rule { includes, ..allow(names) });
        }
        for (capability, names) in WITH_CAPABILITY {
            rules.push(Rule { includes: capability_condition(capability), ..allow(names) });
        }
        let admin = capability_condition("CAP_SYS_ADMIN");
        let no_namespaces = arguments(0, CLONE_NAMESPACES, "SCMP_CMP_MASKED_EQ");
        rules.push(Rule { args: no_namespaces, excludes: admin.clone(), ..allow("clone") });
        // clone3 hides its flags behind a pointer; ENOSYS makes libc fall back to clone.
        rules.push(Rule {
            names: words("clone3"),
            action: "SCMP_ACT_ERRNO".into(),
            errno_ret: Some(38),
            excludes: admin,
            ..Rule::default()
        });
        Self {
            default_action: "SCMP_ACT_ERRNO".into(),
            default_errno_ret: Some(1),
            architectures: None,
            arch_map: Some(arch_map()),
            flags: None,
            listener_path: None,
            listener_metadata: None,
            syscalls: Some(rules),
        }
    }
}

fn arch_map() -> Vec<ArchMap> {
    let entry = |architecture: &str, sub: &[&str]| ArchMap {
        architecture: architecture.to_owned(),
        sub_architectures: Some(sub.iter().map(|&arch| arch.to_owned()).collect()),
    };
    vec![
        entry("SCMP_ARCH_X86_64", &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        entry("SCMP_ARCH_AARCH64", &["SCMP_ARCH_ARM"]),
        entry("SCMP_ARCH_S390X", &["SCMP_ARCH_S390"]),
        entry("SCMP_ARCH_RISCV64", &[]),
    ]
}

fn allow(names: &str) -> Rule {
    Rule { names: words(names), action: ALLOW.into(), ..Rule::default() }
}

fn words(names: &str) -> Option<Vec<String>> {
    Some(names.split_whitespace().map(str::to_owned).collect())
}

fn arguments(index: u32, value: u64, op: &str) -> Option<Vec<Argument>> {
    Some(vec![Argument { index, value, value_two: 0, op: op.to_owned() }])
}

fn kernel(version: &str) -> Option<Condition> {
    Some(Condition { min_kernel: Some(version.to_owned()), ..Condition::default() })
}

fn capability_condition(name: &str) -> Option<Condition> {
    Some(Condition { caps: Some(vec![name.to_owned()]), ..Condition::default() })
}
