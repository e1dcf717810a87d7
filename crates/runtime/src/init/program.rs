//! The program to run: found inside the container, with runc's words when it is not.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Process;
use rustix::fs::{Access, AtFlags, FileType};
use rustix::io::Errno;

use crate::failure::{quoted, reason};
use crate::shim::protocol::{Failure, FailureKind};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Arguments and environment as execve wants them.
pub(super) struct Words {
    pub(super) arguments: Vec<CString>,
    pub(super) environment: Vec<CString>,
}

impl Words {
    pub(super) fn new(process: &Process) -> Result<Self, Failure> {
        let strings = |words: Option<&[String]>| {
            words
                .unwrap_or_default()
                .iter()
                .map(|word| CString::new(word.as_str()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| Failure::invalid("argument or environment holds a zero byte"))
        };
        let mut words = Self {
            arguments: strings(process.args().as_deref())?,
            environment: strings(process.env().as_deref())?,
        };
        let has_home = words.environment.iter().any(|word| word.as_bytes().starts_with(b"HOME="));
        if !has_home {
            words.environment.push(home_of(process.user().uid()));
        }
        Ok(words)
    }
}

/// HOME of the user by the container's own /etc/passwd, `/` if it does not know him.
fn home_of(uid: u32) -> CString {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let home = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let line_uid: u32 = fields.nth(2)?.parse().ok()?;
        if line_uid == uid { fields.nth(2) } else { None }
    });
    let home = home.filter(|home| !home.is_empty()).unwrap_or("/");
    CString::new(format!("HOME={home}")).unwrap_or_else(|_| c"HOME=/".to_owned())
}

/// Finds the program as a shell would, from the working directory and as the final user.
pub(super) fn look_up(process: &Process) -> Result<CString, Failure> {
    let name = process.args().as_ref().and_then(|args| args.first()).map_or("", String::as_str);
    let found = if name.contains('/') {
        let path = Path::new(name);
        check(path).map(|()| path.to_owned()).map_err(|error| explain_path(name, &error))?
    } else {
        search(name, search_path(process)).ok_or_else(|| Failure {
            kind: FailureKind::NotFound,
            message: start_failure(&format!(
                "exec: {}: executable file not found in $PATH",
                quoted(name)
            )),
        })?
    };
    CString::new(found.into_os_string().into_encoded_bytes())
        .map_err(|_| Failure::invalid("the program's name holds a zero byte"))
}

fn search_path(process: &Process) -> &str {
    let environment = process.env().as_deref().unwrap_or_default();
    environment.iter().rev().find_map(|word| word.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH)
}

fn search(name: &str, path: &str) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    path.split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory })
        .map(|directory| Path::new(OsStr::from_bytes(directory.as_bytes())).join(name))
        .find(|candidate| check(candidate).is_ok())
}

/// Tells whether the effective user may execute the file.
fn check(path: &Path) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // A filter or an old kernel may refuse faccessat2; the mode has to do then.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Err(Errno::ACCESS),
        other => other,
    }
}

fn explain_path(name: &str, errno: &Errno) -> Failure {
    let error = io::Error::from(*errno);
    let (kind, text) = match *errno {
        Errno::ISDIR => (FailureKind::IsDirectory, "is a directory".to_owned()),
        Errno::ACCESS => (FailureKind::Permission, "permission denied".to_owned()),
        Errno::NOENT | Errno::NOTDIR => {
            (FailureKind::NotFound, format!("stat {name}: {}", reason(&error)))
        }
        _ => (FailureKind::Other, format!("stat {name}: {}", reason(&error))),
    };
    Failure { kind, message: start_failure(&format!("exec: {}: {text}", quoted(name))) }
}

/// The failure of execve itself, such as a missing interpreter.
pub(super) fn execution_failure(process: &Process, path: &CString, error: &io::Error) -> Failure {
    let _ = process;
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FailureKind::NotFound,
        io::ErrorKind::PermissionDenied => FailureKind::Permission,
        _ => FailureKind::Other,
    };
    let message = format!("exec {}: {}", path.to_string_lossy(), reason(error));
    Failure { kind, message: start_failure(&message) }
}

fn start_failure(text: &str) -> String {
    format!("unable to start container process: {text}")
}
