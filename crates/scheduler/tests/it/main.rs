//! The driver against a scripted master: what it sends, and how it takes what a master may do.

mod master;
mod observer;
mod subscription;
