//! Links the release binary to a fixed address.
//!
//! A position-independent one has 55,000 pointers to correct at every start, most of them in the tables of time zones: that
//! is 1.3 MB that each process writes to, and more than a millisecond, and a run starts two processes. Stack, heap and
//! libraries stay at random addresses.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
