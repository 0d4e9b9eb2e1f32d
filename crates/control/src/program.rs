//! Whether a function's program can run here, seen before it is deployed: that it is in the package, may be executed, is
//! of this machine's kind, and finds its loader or interpreter.
//!
//! What is in an image's root is not looked at: there the start tells.

use model::{CodeHash, Fault, FaultCode, FunctionSpec, Language};
use store::FileHead;

use crate::Shared;
use crate::error::ApiError;

/// What AWS Lambda starts where the runtime is the package's own.
const BOOTSTRAP: &str = "bootstrap";

/// Where a program without a slash is looked for, beside the package.
const FOLDERS: [&str; 4] = ["/var/lang/bin", "/usr/local/bin", "/usr/bin", "/bin"];

/// What the beginning of a program says.
#[derive(Debug, PartialEq, Eq)]
enum Program {
    /// For this machine, with the loader that it needs, if it needs one.
    Elf {
        loader: Option<String>,
    },
    Script {
        interpreter: String,
    },
    /// In words, why it is neither.
    Not(String),
}

/// Refuses a function whose program could not be started.
pub(crate) async fn require_runs(api: &Shared, spec: &FunctionSpec, code: &CodeHash) -> Result<(), ApiError> {
    let refuse = |why: String| Fault::new(FaultCode::InvalidPackage, format!("function {}: {why}", spec.name)).into();
    let path = match &spec.command {
        Some(command) => command.first().map_or("", String::as_str),
        None if spec.runtime.language() == Language::Native => BOOTSTRAP,
        None if spec.runtime.language() == Language::Java => return require_java(api, spec, code).await,
        // An interpreter that was looked for when Hearth started runs it.
        None => return Ok(()),
    };
    if path.starts_with('/') {
        let here = spec.image.is_some() || path.starts_with("/var/task/") || api.platform.has_program(path);
        return if here { Ok(()) } else { Err(refuse(format!("there is no program {path} on this machine"))) };
    }
    let Some(head) = api.packages.head(code, path).await? else {
        let elsewhere = FOLDERS.iter().any(|folder| api.platform.has_program(&format!("{folder}/{path}")));
        if spec.command.is_some() && !path.contains('/') && (elsewhere || spec.image.is_some()) {
            return Ok(());
        }
        return Err(refuse(match &spec.command {
            None => "its package has no file bootstrap, which is the program that the runtime provided.al2023 starts: \
                     add one, or say with command what to run"
                .to_owned(),
            Some(_) if path.contains('/') => format!("its command's program {path} is not in the package"),
            Some(_) => format!("its command's program {path} is neither in the package nor in {}", FOLDERS.join(", ")),
        }));
    };
    if !head.executable {
        return Err(refuse(format!("{path} is not executable: chmod +x {path}, and package it again")));
    }
    let needs = match look(&head, std::env::consts::ARCH) {
        Program::Not(why) => return Err(refuse(format!("{path} cannot run here: {why}"))),
        Program::Elf { loader } => loader.map(|loader| (loader, "the loader")),
        Program::Script { interpreter } => Some((interpreter, "the interpreter")),
    };
    match needs {
        Some((needed, what)) if spec.image.is_none() && !api.platform.has_program(&needed) => {
            let advice =
                if what == "the loader" { ": link it statically, or against this system's C library" } else { "" };
            Err(refuse(format!("{path} needs {what} {needed}, which is not on this machine{advice}")))
        }
        _ => Ok(()),
    }
}

/// Refuses a Java function whose jar is missing, or whose class was compiled for a later version than its runtime's.
///
/// A class in one of the package's jars is not looked at: there the start tells.
async fn require_java(api: &Shared, spec: &FunctionSpec, code: &CodeHash) -> Result<(), ApiError> {
    let refuse =
        |why: String| Err(Fault::new(FaultCode::InvalidPackage, format!("function {}: {why}", spec.name)).into());
    let handler = &spec.handler;
    if spec.web.is_some() {
        let there = handler.starts_with('/') || api.packages.head(code, handler).await?.is_some();
        return if there {
            Ok(())
        } else {
            refuse(format!("its package has no file {handler}, the jar that java -jar would start"))
        };
    }
    let class = handler.split("::").next().unwrap_or_default();
    let path = format!("{}.class", class.replace('.', "/"));
    let Some(head) = api.packages.head(code, &path).await? else { return Ok(()) };
    match java_version(&head.bytes) {
        None => refuse(format!("{path} is no Java class file")),
        Some(compiled) if spec.runtime.version().parse().is_ok_and(|runs: u16| compiled > runs) => {
            let runtime = &spec.runtime;
            let runs = runtime.version();
            refuse(format!(
                "{class} is compiled for Java {compiled}, and {runtime} runs what is compiled for Java {runs} at most: \
                 compile with --release {runs}, or choose a later runtime"
            ))
        }
        Some(_) => Ok(()),
    }
}

/// The version of Java that a class file is for: 61 is 17's.
fn java_version(bytes: &[u8]) -> Option<u16> {
    let major = u16::from_be_bytes(*bytes.strip_prefix(&[0xca, 0xfe, 0xba, 0xbe])?.get(2..)?.first_chunk()?);
    major.checked_sub(44)
}

fn look(head: &FileHead, arch: &str) -> Program {
    let bytes = &head.bytes[..];
    if let Some(rest) = bytes.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if line.ends_with(b"\r") {
            return Program::Not("its first line ends with a carriage return: save it with Unix line ends".into());
        }
        let words = String::from_utf8_lossy(line).into_owned();
        return match words.split_whitespace().next() {
            Some(interpreter) if interpreter.starts_with('/') => {
                Program::Script { interpreter: interpreter.to_owned() }
            }
            _ => Program::Not("its first line, #!, names no interpreter by its whole path".into()),
        };
    }
    if !bytes.starts_with(b"\x7fELF") {
        let what = match bytes {
            [b'M', b'Z', ..] => "it is a program for Windows",
            [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => "it is a program for macOS",
            _ => "it is neither an ELF executable nor a script that begins with #!",
        };
        return Program::Not(format!("{what}; expected a Linux program for {arch}"));
    }
    elf(bytes, arch).unwrap_or_else(|| Program::Not("its ELF header is cut or broken".into()))
}

/// Reads an ELF header of 64 bits, little-endian; None where it is cut.
fn elf(bytes: &[u8], arch: &str) -> Option<Program> {
    let half = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let long = |at: usize| usize::try_from(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok();
    let (class, order) = (*bytes.get(4)?, *bytes.get(5)?);
    let machine = if order == 1 { half(18)? } else { half(18)?.swap_bytes() };
    let is = match (machine, class) {
        (62, 2) => "x86_64",
        (183, 2) => "aarch64",
        (3, _) => "x86 (32 bits)",
        (40, _) => "arm (32 bits)",
        (243, _) => "riscv",
        (21, _) => "powerpc64",
        (22, _) => "s390x",
        _ => "another machine",
    };
    if is != arch {
        return Some(Program::Not(format!("it is built for {is}, and this machine is {arch}")));
    }
    // ET_EXEC, ET_DYN
    if ![2, 3].contains(&half(16)?) {
        return Some(Program::Not("it is an object file or a core dump, not a linked program".into()));
    }
    let (table, size, count) = (long(32)?, usize::from(half(54)?), usize::from(half(56)?));
    for at in (0..count).map(|index| table.saturating_add(index * size)) {
        // PT_INTERP
        if word(at)? == 3 {
            let (from, length) = (long(at.checked_add(8)?)?, long(at.checked_add(32)?)?);
            let text = bytes.get(from..from.checked_add(length)?)?;
            let text = text.split(|byte| *byte == 0).next()?;
            return Some(Program::Elf { loader: Some(String::from_utf8_lossy(text).into_owned()) });
        }
    }
    Some(Program::Elf { loader: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Program {
        look(&FileHead { bytes: bytes.to_vec(), executable: true }, "x86_64")
    }

    /// An ELF file with one program header, PT_INTERP or another.
    fn made(machine: u16, class: u8, kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; 160];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
        bytes[16..18].copy_from_slice(&3u16.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1u16.to_le_bytes());
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes[72..80].copy_from_slice(&120u64.to_le_bytes());
        bytes[96..104].copy_from_slice(&17u64.to_le_bytes());
        bytes[120..137].copy_from_slice(b"/lib64/ld-musl.so");
        bytes
    }

    #[test]
    fn a_program_tells_its_machine_and_its_loader() {
        assert_eq!(of(&made(62, 2, 3)), Program::Elf { loader: Some("/lib64/ld-musl.so".into()) });
        assert_eq!(of(&made(62, 2, 1)), Program::Elf { loader: None });
        let Program::Not(why) = of(&made(183, 2, 1)) else { panic!() };
        assert_eq!(why, "it is built for aarch64, and this machine is x86_64");
        assert!(matches!(of(&made(3, 1, 1)), Program::Not(why) if why.contains("32 bits")));
    }

    #[test]
    fn a_class_tells_which_java_it_is_for() {
        assert_eq!(java_version(b"\xca\xfe\xba\xbe\0\0\0\x3d"), Some(17));
        assert_eq!(java_version(b"\xca\xfe\xba\xbe\0\0\0"), None);
        assert_eq!(java_version(b"PK\x03\x04\0\0\0\x3d"), None);
    }

    #[test]
    fn a_header_that_is_cut_is_no_program() {
        let whole = made(62, 2, 3);
        for length in 4..137 {
            assert!(matches!(of(&whole[..length]), Program::Not(_)), "cut at {length}");
        }
        let mut wild = whole.clone();
        wild[72..80].fill(0xff);
        assert!(matches!(of(&wild), Program::Not(_)));
        wild[32..40].fill(0xff);
        assert!(matches!(of(&wild), Program::Not(_)));
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let script = |text: &str| of(text.as_bytes());
        assert_eq!(script("#!/bin/sh\nexit"), Program::Script { interpreter: "/bin/sh".into() });
        assert_eq!(script("#! /usr/bin/env perl -w\n"), Program::Script { interpreter: "/usr/bin/env".into() });
        assert!(matches!(script("#!/bin/sh\r\nexit"), Program::Not(why) if why.contains("carriage return")));
        assert!(matches!(script("#!sh\n"), Program::Not(_)));
        assert!(matches!(script("echo hello\n"), Program::Not(why) if why.contains("begins with #!")));
        assert!(matches!(of(b"MZ\x90\0"), Program::Not(why) if why.contains("Windows")));
    }
}
