//! How a Java virtual machine is started in a sandbox: what it may use of the memory, and with which compiler.
//!
//! It sees neither the sandbox's limit nor that it lives for a call or two only.

use model::{FunctionSpec, Memory};

pub const BOOTSTRAP: &str = "/var/runtime/java/bootstrap.jar";

/// What a virtual machine needs beside heap and classes: its own code, the compiler's, threads.
const BESIDE: u32 = 44;

/// Variables by which a function gives it options of its own.
const OPTIONS: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// Program and arguments of an event function: the bootstrap.
///
/// `in_image`: the machine is the image's, for which there is no archive of classes.
pub fn command(program: &str, spec: &FunctionSpec, in_image: bool) -> Vec<String> {
    let mut command = vec![program.to_owned()];
    command.extend(flags(spec));
    if !in_image {
        command.push(format!("@{}", options(spec.runtime.version())));
    }
    command.extend(["-jar".to_owned(), BOOTSTRAP.to_owned()]);
    command
}

/// Program and arguments of a jar with a main class of its own.
pub fn jar(program: &str, spec: &FunctionSpec, jar: &str) -> Vec<String> {
    let mut command = vec![program.to_owned()];
    command.extend(flags(spec));
    command.extend(["-jar".to_owned(), jar.to_owned()]);
    command
}

/// A file of options beside the bootstrap: empty until there is an archive of classes for this version.
fn options(major: &str) -> String {
    format!("/var/runtime/java/java{major}.options")
}

/// Ours give way to the function's own: on a command line they would win over those of a variable.
fn flags(spec: &FunctionSpec) -> Vec<String> {
    let own: Vec<&str> = OPTIONS.iter().filter_map(|name| spec.env.get(*name)?.plain()).collect();
    let says = |words: &[&str]| own.iter().any(|text| words.iter().any(|word| text.contains(word)));
    let mut flags = Vec::new();
    if !says(&["-Xmx", "MaxHeapSize", "MaxRAM"]) {
        flags.push(format!("-Xmx{}m", heap(spec.memory)));
    }
    if !says(&["MaxMetaspaceSize"]) {
        flags.push(format!("-XX:MaxMetaspaceSize={}m", (spec.memory.as_mib() / 2).max(32)));
    }
    // One thread, and the least memory of its own.
    if !says(&["-XX:+Use"]) {
        flags.push("-XX:+UseSerialGC".to_owned());
    }
    // As on AWS Lambda: the quick compiler alone is ready sooner, and most instances end before the other had paid.
    if !says(&["TieredStopAtLevel", "TieredCompilation"]) {
        flags.push("-XX:TieredStopAtLevel=1".to_owned());
    }
    // Counters for tools that cannot get in, in a file of /tmp.
    flags.push("-XX:-UsePerfData".to_owned());
    flags
}

/// AWS's 85 percent, but always with room for what is not heap: else the kernel would end it before it could collect.
fn heap(memory: Memory) -> u32 {
    let all = memory.as_mib();
    (all * 85 / 100).min(all.saturating_sub(BESIDE).max(all / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Runtime;

    fn spec(memory: u32) -> FunctionSpec {
        let mut spec = FunctionSpec::new("f".parse().unwrap(), Runtime::java("17"), "app.Handler");
        spec.memory = Memory::mib(memory);
        spec
    }

    #[test]
    fn the_heap_leaves_room_beside_itself() {
        let heap = |memory| heap(Memory::mib(memory));
        assert_eq!([heap(64), heap(128), heap(256), heap(512), heap(3008)], [32, 84, 212, 435, 2556]);
    }

    #[test]
    fn a_function_s_own_options_win() {
        let command = |text: Option<&str>| {
            let mut spec = spec(128);
            spec.env.extend(text.map(|text| ("JAVA_TOOL_OPTIONS".to_owned(), text.into())));
            super::command("/jvm/bin/java", &spec, false).join(" ")
        };
        assert_eq!(
            command(None),
            "/jvm/bin/java -Xmx84m -XX:MaxMetaspaceSize=64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
             @/var/runtime/java/java17.options -jar /var/runtime/java/bootstrap.jar"
        );
        let own = command(Some("-Xmx64m -XX:+UseParallelGC -XX:+TieredCompilation"));
        assert!(!own.contains("Xmx") && !own.contains("Serial") && !own.contains("Tiered"), "{own}");
    }
}
