//! Image mounts: the layers of an image, read-only, or one path in them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use linux::fs::{Mode, OFlags, Root};
use linux::mount::{self, Overlay, Tree};

use super::{Prepared, UserNamespace, failed};
use crate::failure::During;
use crate::shim::protocol::Failure;

/// Precedes a layer's directory among the options, topmost layer first.
const LAYER: &str = "lowerdir+=";
/// Precedes a path in the image.
const SUBPATH: &str = "x-subpath=";

/// Tells whether a mount is one of these.
pub(super) fn is_image(prepared: &Prepared<'_>) -> bool {
    prepared.kind() == "overlay"
        && prepared.options.data.iter().any(|option| option.starts_with(LAYER))
}

/// Makes what is to be attached.
pub(super) fn open(
    prepared: &Prepared<'_>,
    bundle: &Path,
    user_namespace: Option<&UserNamespace>,
) -> Result<OwnedFd, Failure> {
    let mount = prepared.mount;
    let options = &prepared.options.data;
    let values = |key: &'static str| options.iter().filter_map(move |it| it.strip_prefix(key));
    let lowers: Vec<PathBuf> = values(LAYER).map(PathBuf::from).collect();
    let overlay = |lowers: Vec<PathBuf>| {
        let overlay = Overlay { lowers, ..Overlay::default() };
        mount::overlay(&overlay).during(|| failed(mount, "mount the image's layers"))
    };
    let tree = match user_namespace {
        None => overlay(lowers.clone())?,
        Some(namespace) => {
            let layers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
            namespace.with_layers(bundle, &layers, overlay)?
        }
    };
    let (Some(subpath), Some(bottom)) = (values(SUBPATH).next(), lowers.last()) else {
        return Ok(tree);
    };
    // Older kernels clone out of attached mounts only. Over the lowest layer, which is empty and
    // this mount's alone, it is in nobody's way; the program never sees the host's tree.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::open(bottom, flags, Mode::empty())
        .during(|| failed(mount, "open the image's layer"))?;
    mount::attach(&tree, &place).during(|| failed(mount, "attach the image"))?;
    let root = Root::from_fd(tree);
    let file = root
        .open_in_root(subpath, OFlags::PATH, Mode::empty())
        .during(|| failed(mount, &format!("cannot access subpath {subpath:?} of the image")))?;
    mount::clone_tree(&file, "", Tree::Single)
        .during(|| failed(mount, "clone the path in the image"))
}
