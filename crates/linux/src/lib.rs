//! The kernel, safely: mounts, namespaces, processes, descriptors, netlink.
