//! Which system calls the default profile allows, as data: Docker's choice,
//! grouped by what the calls are for. The profile says nothing about numbers:
//! the runtime resolves names for each architecture, and skips those that an
//! architecture does not have.
//!
//! What is not named here is refused: making io_uring rings, `userfaultfd`, the
//! kernel's key rings, `kexec`, swap, clock and module control, and all that is new.

use oci_spec::runtime::Capability;

/// Restricting oneself further.
const SANDBOX: &str =
    "landlock_add_rule landlock_create_ruleset landlock_restrict_self prctl seccomp";

/// Users, groups, capabilities and limits of the caller.
const IDENTITY: &str = "\
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 \
    getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getuid getuid32 prlimit64 \
    setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid \
    setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setuid \
    setuid32 sysinfo ugetrlimit umask uname";

/// Clocks and timers.
const TIME: &str = "\
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep \
    setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 \
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 \
    timerfd_settime timerfd_settime64 times";

/// Sending, catching and waiting for signals.
const SIGNALS: &str = "\
    kill pause pidfd_send_signal restart_syscall rt_sigaction rt_sigpending rt_sigprocmask \
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
    rt_tgsigqueueinfo sigaltstack signalfd signalfd4 sigprocmask sigreturn tgkill tkill";

/// Priorities and processors.
const SCHEDULING: &str = "\
    getcpu getpriority ioprio_get ioprio_set membarrier rseq sched_get_priority_max \
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr \
    sched_setparam sched_setscheduler sched_yield setpriority";

/// Address space.
const MEMORY: &str = "\
    brk madvise map_shadow_stack memfd_create memfd_secret mincore mlock mlock2 mlockall mmap \
    mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free \
    pkey_mprotect process_mrelease remap_file_pages uretprobe";

/// System V and POSIX message queues, semaphores, shared memory; futexes.
const IPC: &str = "\
    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list ipc \
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
    mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop \
    semtimedop_time64 set_robust_list shmat shmctl shmdt shmget";

/// Everything about sockets but making one.
const SOCKETS: &str = "\
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg \
    recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall \
    socketpair";

/// Waiting for many things at once.
const EVENTS: &str = "\
    _newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 \
    epoll_wait epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init \
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents \
    io_pgetevents_time64 io_setup io_submit poll ppoll ppoll_time64 pselect6 pselect6_time64 \
    select";

/// Making, running, waiting for and ending processes and threads.
const PROCESS: &str = "\
    execve execveat exit exit_group fork get_thread_area getpgid getpgrp getpid getppid getsid \
    gettid pidfd_open set_thread_area set_tid_address setpgid setsid vfork wait4 waitid waitpid";

/// Reading, writing and managing open files.
const DESCRIPTORS: &str = "\
    _llseek cachestat close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 \
    fallocate fcntl fcntl64 fdatasync flock fsync ftruncate ftruncate64 getdents getdents64 \
    getrandom ioctl lseek pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read \
    readahead readv sendfile sendfile64 splice sync sync_file_range syncfs tee truncate \
    truncate64 vmsplice write writev";

/// Names, attributes and file systems.
const FILES: &str = "\
    access chdir chmod chown chown32 creat faccessat faccessat2 fchdir fchmod fchmodat fchmodat2 \
    fchown fchown32 fchownat fgetxattr flistxattr fremovexattr fsetxattr fstat fstat64 fstatat64 \
    fstatfs fstatfs64 futimesat getcwd getxattr getxattrat lchown lchown32 lgetxattr link linkat \
    listmount listxattr listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 mkdir \
    mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 readlink readlinkat \
    removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat stat64 \
    statfs statfs64 statmount statx symlink symlinkat unlink unlinkat utime utimensat \
    utimensat_time64 utimes";

/// All groups that need no capability.
pub(super) const ALLOWED: [&str; 12] = [
    SANDBOX,
    IDENTITY,
    TIME,
    SIGNALS,
    SCHEDULING,
    MEMORY,
    IPC,
    SOCKETS,
    EVENTS,
    PROCESS,
    DESCRIPTORS,
    FILES,
];

/// Calls that a capability brings along.
pub(super) const BY_CAPABILITY: &[(Capability, &str)] = &[
    (Capability::Bpf, "bpf"),
    (Capability::DacReadSearch, "open_by_handle_at"),
    (Capability::Perfmon, "perf_event_open"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (
        Capability::SysModule,
        "delete_module finit_module init_module",
    ),
    (
        Capability::SysNice,
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    (Capability::SysPacct, "acct"),
    (
        Capability::SysPtrace,
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    (Capability::SysRawio, "ioperm iopl"),
    (
        Capability::SysTime,
        "clock_settime clock_settime64 settimeofday stime",
    ),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::Syslog, "syslog"),
];
