//! The command line: flags to API calls to tables, progress and templates.
