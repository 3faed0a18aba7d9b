//! Builds the image of the interception agent: `crates/agent` compiled once more, for the same target, without a C
//! library and at an address of its own (`agent.ld`), and put into the output directory for `include_bytes!`.
//!
//! It is always optimised, whatever the profile: its code runs in the place of system calls.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let agent = manifest.join("../agent");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    println!("cargo::rerun-if-changed={}", agent.join("src").display());
    println!("cargo::rerun-if-changed={}", agent.join("agent.ld").display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let image = out.join("agent.elf");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        // The isolation says that it has no agent for this architecture.
        std::fs::write(&image, b"").expect("write to OUT_DIR");
        return;
    }
    let archive = out.join("libagent.a");
    let target = env::var("TARGET").expect("set by cargo");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(rustc);
    compile
        .args(["--crate-name", "agent", "--crate-type", "staticlib", "--edition", "2024", "--cfg", "agent_image"])
        .args(["--target", &target, "-A", "dead_code"])
        .args(["-C", "panic=abort", "-C", "opt-level=3", "-C", "lto=fat", "-C", "codegen-units=1"])
        .args(["-C", "relocation-model=pic", "-C", "debuginfo=0", "-C", "overflow-checks=no"])
        .args(["-C", "force-unwind-tables=no", "-C", "debug-assertions=no"])
        .arg(format!("--remap-path-prefix={}=agent", agent.display()))
        .arg("-o")
        .arg(&archive)
        .arg(agent.join("src/lib.rs"))
        // Flags of the workspace are for programs with a C library.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    run(&mut compile, "compile the interception agent");
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let mut link = Command::new(linker);
    link.args(["-nostdlib", "-static", "-no-pie", "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-s"])
        .args(["-Wl,-z,noexecstack", "-Wl,-z,max-page-size=4096", "-Wl,-u,_start"])
        .arg(script(&agent))
        .arg("-o")
        .arg(&image)
        .arg(&archive);
    run(&mut link, "link the interception agent");
}

fn script(agent: &Path) -> String {
    format!("-Wl,-T,{}", agent.join("agent.ld").display())
}

fn run(command: &mut Command, what: &str) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("cannot {what}: {status}: {command:?}"),
        Err(error) => panic!("cannot {what}: {error}: {command:?}; install a C linker (cc) or set the target's linker"),
    }
}
