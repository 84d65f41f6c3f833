//! The offline model: a loopback Messages API that lets the real CLI run with no account.
