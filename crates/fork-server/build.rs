//! The sandboxes' first process begins by itself, not in a C library.

fn main() {
    println!("cargo::rustc-link-arg-bins=-nostartfiles");
    println!("cargo::rustc-check-cfg=cfg(hearth_init)");
    println!("cargo::rerun-if-changed=build.rs");
}
