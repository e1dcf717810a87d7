//! Standard streams of a new process: pipes, or a terminal out of the container's devpts.

use std::os::fd::{AsFd, OwnedFd};

use linux::fs::{Mode, OFlags, Root};
use linux::mount::{self, Tree};
use rustix::fs::{AtFlags, FileType, Gid, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::{Launch, Stdio, send_terminal};
use crate::failure::During;
use crate::shim::protocol::{ConsoleSize, Failure};

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Opens init's terminal and puts it on /dev/console.
pub(super) fn set_up_init(
    launch: &mut Launch<'_>,
    root: &Root,
    devpts: Option<OwnedFd>,
) -> Result<(), Failure> {
    let Stdio::Terminal { size } = launch.stdio else {
        if let Some(devpts) = devpts {
            send_terminal(&launch.sync, &[devpts]).during(|| "send devpts".to_owned())?;
        }
        return Ok(());
    };
    let devpts = match devpts {
        Some(devpts) => devpts,
        None => find_devpts(root)?,
    };
    let (master, slave, number) = open(&devpts, size)?;
    bind_console(root, &devpts, number)?;
    // The devpts goes first, the master second: with no terminal only the first is sent.
    send_terminal(&launch.sync, &[devpts, master]).during(|| "send terminal".to_owned())?;
    replace_streams(launch, &slave)
}

/// Opens an exec's terminal in the container's devpts.
pub(super) fn set_up_exec(launch: &mut Launch<'_>, devpts: Option<OwnedFd>) -> Result<(), Failure> {
    let Stdio::Terminal { size } = launch.stdio else { return Ok(()) };
    let devpts = match devpts {
        Some(devpts) => devpts,
        None => find_devpts(&Root::open("/").during(|| "open /".to_owned())?)?,
    };
    let (master, slave, _) = open(&devpts, size)?;
    send_terminal(&launch.sync, &[devpts, master]).during(|| "send terminal".to_owned())?;
    replace_streams(launch, &slave)
}

/// Finds the devpts of a container whose config did not mount one here.
fn find_devpts(root: &Root) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let devpts = root
        .open_no_symlinks("/dev/pts", flags, Mode::empty())
        .during(|| "open /dev/pts".to_owned())?;
    let stat = rustix::fs::fstatfs(&devpts).during(|| "statfs /dev/pts".to_owned())?;
    if stat.f_type == DEVPTS_SUPER_MAGIC {
        Ok(devpts)
    } else {
        Err(Failure::other("/dev/pts is no devpts: the container cannot have a terminal"))
    }
}

fn open(devpts: &OwnedFd, size: Option<ConsoleSize>) -> Result<(OwnedFd, OwnedFd, u32), Failure> {
    let what = || "open terminal".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(devpts, "ptmx", flags, Mode::empty()).during(what)?;
    rustix::pty::unlockpt(&master).during(what)?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, peer).during(what)?;
    if let Some(size) = size {
        let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).during(what)?;
    }
    let name = rustix::pty::ptsname(&master, Vec::new()).during(what)?;
    let number = name.to_str().ok().and_then(|name| name.rsplit('/').next()?.parse().ok());
    let number = number.ok_or_else(|| Failure::other("terminal without a number"))?;
    Ok((master, slave, number))
}

/// Binds the terminal on /dev/console, which is made here and thus no symlink of the image's.
fn bind_console(root: &Root, devpts: &OwnedFd, number: u32) -> Result<(), Failure> {
    let what = || "bind /dev/console".to_owned();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let dev = root.open_in_root("/dev", flags, Mode::empty()).during(what)?;
    let flags =
        OFlags::CREATE | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let console = rustix::fs::openat(&dev, "console", flags, mode).during(what)?;
    let clone = mount::clone_tree(devpts, number.to_string(), Tree::Single).during(what)?;
    mount::attach(clone, console).during(what)
}

fn replace_streams(launch: &mut Launch<'_>, slave: &OwnedFd) -> Result<(), Failure> {
    let what = || "take terminal".to_owned();
    rustix::process::ioctl_tiocsctty(slave).during(what)?;
    let copy = || slave.try_clone();
    launch.stdio = Stdio::Pipes {
        stdin: copy().during(what)?,
        stdout: copy().during(what)?,
        stderr: copy().during(what)?,
    };
    Ok(())
}

/// Makes the streams descriptors 0 to 2, owned by the user who will run.
pub(super) fn install(launch: &Launch<'_>) -> Result<(), Failure> {
    let Stdio::Pipes { stdin, stdout, stderr } = &launch.stdio else {
        return Err(Failure::other("the terminal was not opened"));
    };
    let user = launch.process.user().uid();
    let user = launch.user_namespace.as_ref().map_or(Ok(user), |namespace| namespace.uid(user))?;
    for (stream, number) in [(stdin, 0), (stdout, 1), (stderr, 2)] {
        let stat = rustix::fs::fstat(stream).during(|| "stat stream".to_owned())?;
        let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        if is_null {
            // The container's own null device, so that /dev/stdin can be opened again.
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(null) = rustix::fs::open("/dev/null", flags, Mode::empty())
                && rustix::fs::fstat(&null).is_ok_and(|own| own.st_rdev == stat.st_rdev)
            {
                linux::process::duplicate_to(null.as_fd(), number)
                    .during(|| "install stream".to_owned())?;
                continue;
            }
        } else if stat.st_uid != user {
            // The user must be able to open /dev/stdout again; the group stays (tty).
            let owner = Some(Uid::from_raw(user));
            let _ = rustix::fs::chownat(stream, "", owner, None::<Gid>, AtFlags::EMPTY_PATH);
        }
        linux::process::duplicate_to(stream.as_fd(), number)
            .during(|| "install stream".to_owned())?;
    }
    Ok(())
}
