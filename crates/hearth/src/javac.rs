//! Compiling the Java bootstrap: by the build script where there is a compiler, else once on the machine that runs Hearth.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

/// The oldest virtual machine that the bootstrap runs on.
pub const OLDEST: u32 = 17;

/// A JDK's two tools.
#[derive(Debug)]
pub struct Tools {
    pub javac: PathBuf,
    jar: PathBuf,
    /// What the build script has no use for.
    #[allow(dead_code)]
    pub major: u32,
}

/// Of the JDK in JAVA_HOME, else of one that has its tools where programs are found.
pub fn find() -> Option<Tools> {
    let home = env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let usual = ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    home.into_iter().chain(usual).find_map(|folder| {
        let (javac, jar) = (folder.join("javac"), folder.join("jar"));
        let major = (javac.is_file() && jar.is_file()).then(|| major(&javac)).flatten()?;
        (major >= OLDEST).then_some(Tools { javac, jar, major })
    })
}

/// `javac 17.0.15` → 17
fn major(javac: &Path) -> Option<u32> {
    let output = Command::new(javac).arg("-version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim().strip_prefix("javac ")?.split(['.', '-']).next()?.parse().ok()
}

/// Makes the jar of the sources in a folder. The same sources give the same bytes.
pub fn compile(tools: &Tools, sources: &Path, jar: &Path) -> io::Result<()> {
    let classes = jar.with_extension("classes");
    if classes.exists() {
        fs::remove_dir_all(&classes)?;
    }
    let mut files = Vec::new();
    collect(sources, &mut files)?;
    files.sort();
    let release = OLDEST.to_string();
    let mut javac = Command::new(&tools.javac);
    // Joining strings by instructions made at run time costs a start a millisecond and more.
    javac
        .args(["--release", &release, "-encoding", "UTF-8", "-nowarn", "-proc:none", "-XDstringConcat=inline", "-d"])
        .arg(&classes)
        .args(&files);
    run(&mut javac)?;
    // Uncompressed: it is opened at every start.
    let mut pack = Command::new(&tools.jar);
    pack.args(["--create", "--no-compress", "--date", "2001-01-01T00:00:00Z", "--file"]).arg(jar);
    pack.arg("--manifest").arg(sources.join("manifest.txt")).arg("-C").arg(&classes).arg(".");
    run(&mut pack)?;
    fs::remove_dir_all(&classes)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "java") {
            files.push(path);
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> io::Result<()> {
    // Whatever options a shell gives to every virtual machine are not meant for this one.
    for name in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "JDK_JAVAC_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"] {
        command.env_remove(name);
    }
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Err(io::Error::other(format!("{}: {}", command.get_program().to_string_lossy(), said.trim())))
}
