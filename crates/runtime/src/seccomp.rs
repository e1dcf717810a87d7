//! Seccomp profiles: Docker's default, user-supplied ones, compiled once and cached.
//!
//! A [`Profile`] is what a user writes: rules that apply for some capabilities, architectures and
//! kernels. [`Profile::resolve`] decides those conditions and gives the OCI form, which an external
//! runtime takes as it is and [`compile`] turns into the BPF program that our own init loads.
//! Compiling costs about 20 ms, so programs are kept on disk under the hash of what they were
//! compiled from.

mod compile;
mod default;
mod profile;
#[cfg(test)]
mod tests;

pub use compile::compile;
pub use profile::Profile;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no profile.
    #[error("decode seccomp profile")]
    Decode(#[source] serde_json::Error),
    /// Two ways to name the architectures were used at once.
    #[error("seccomp profile has both 'architectures' and 'archMap'; use either of the two")]
    Architectures,
    /// A rule names its system calls in both ways.
    #[error("seccomp profile has a rule with both 'name' and 'names'; use either of the two")]
    Names,
    /// A condition on the kernel's version is no version.
    #[error("seccomp profile has minKernel {0:?}, which is not of the form MAJOR.MINOR")]
    MinKernel(String),
    /// The action cannot be served without a process that answers for the kernel.
    #[error(
        "seccomp profile uses {0}, which the builtin runtime does not serve; choose an OCI runtime that does with --runtime"
    )]
    Unsupported(&'static str),
    /// libseccomp refused.
    #[error("compile seccomp profile: {what}")]
    Compile {
        /// Which rule or setting.
        what: String,
        /// What libseccomp said.
        source: libseccomp::error::SeccompError,
    },
    /// The compiled program could not be kept.
    #[error("write compiled seccomp profile {path}")]
    Write {
        /// Where.
        path: std::path::PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}
