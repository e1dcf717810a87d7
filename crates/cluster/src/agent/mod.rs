//! The agent's core: executors, tasks and their streams of status updates.
