mod ending;
mod executors;
mod groups;
mod harness;
mod recovery;
mod registration;
mod updates;
mod volumes;
