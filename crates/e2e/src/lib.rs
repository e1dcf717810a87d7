//! Black-box tests: the real binaries on the real kernel, judged from outside.
