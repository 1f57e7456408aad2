//! The binary interface: what a program compiled against `park.h` relies on, beside a committed copy of it, `tests/c/abi.txt`.
//!
//! The copy lists every exported symbol with its prototype, every constant, and every public struct with the offset and size of its
//! members, as the C compiler lays them out. What is removed or changed fails the test; what is added fails it too until the copy is
//! written anew on purpose (`make abi`, which is `PARK_ABI=write`), and even that refuses to forget or change a line unless
//! PARK_ABI_VERSION has moved. One change is no break: a struct that begins with struct_size may grow at its end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::c_header::{compilers, header, parse};
use crate::walk;

/// The interface as lines: a key, and what it must be.
type Abi = BTreeMap<String, String>;

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the compiler and binutils are installed");
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// The library that cargo built as this test's dependency.
fn library() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    let folder = exe.parent().expect("below target/");
    let path = folder.join("libpark_c.so");
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

fn symbols(library: &Path) -> Vec<String> {
    let listing = run(Command::new("nm").arg("-D").arg("--defined-only").arg(library));
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(str::to_owned)
        .collect()
}

/// Sizes, offsets and constants, printed by a program that the C compiler made of the header.
fn layout(folder: &Path) -> Vec<(String, String)> {
    let declared = parse(&header());
    let mut program =
        String::from("#include <stdio.h>\n#include \"park.h\"\n#define SIZE(x) (unsigned long)(x)\nint main(void) {\n");
    // The version is what moves at every release.
    for name in declared
        .constants
        .iter()
        .filter(|name| !name.starts_with("PARK_VERSION_"))
    {
        program += &format!("  printf(\"constant {name} = %lld\\n\", (long long)({name}));\n");
    }
    for name in &declared.scalars {
        program += &format!("  printf(\"type {name} = %lu bytes\\n\", SIZE(sizeof({name})));\n");
    }
    for (name, members) in &declared.structs {
        program += &format!("  printf(\"struct {name} = %lu bytes\\n\", SIZE(sizeof({name})));\n");
        for member in members {
            program += &format!(
                "  printf(\"member {name}.{member} = %lu bytes at %lu\\n\", SIZE(sizeof((({name} *)0)->{member})), \
                 SIZE(offsetof({name}, {member})));\n"
            );
        }
    }
    program += "  return 0;\n}\n";
    let (source, binary) = (folder.join("abi.c"), folder.join("abi"));
    fs::write(&source, program).expect("the folder is ours");
    let include = walk::root().join("include");
    run(Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-I"])
        .arg(include)
        .arg(&source)
        .arg("-o")
        .arg(&binary));
    run(&mut Command::new(binary))
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What breaks programs compiled for `old`, and what is merely new.
fn compare(old: &Abi, new: &Abi) -> (Vec<String>, Vec<String>) {
    let mut broken = Vec::new();
    for (key, before) in old {
        match new.get(key) {
            None => broken.push(format!("gone: {key} = {before}")),
            Some(now) if now == before => {}
            Some(now) if may_grow(key, before, now, new) => {}
            Some(now) => broken.push(format!("changed: {key} = {before}, now {now}")),
        }
    }
    let added = new
        .iter()
        .filter(|(key, value)| old.get(*key) != Some(value))
        .map(|(key, value)| format!("new: {key} = {value}"))
        .collect();
    (broken, added)
}

fn may_grow(key: &str, before: &str, now: &str, abi: &Abi) -> bool {
    let Some(name) = key.strip_prefix("struct ") else {
        return false;
    };
    let bytes = |text: &str| text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    abi.get(&format!("member {name}.struct_size"))
        .is_some_and(|at| at.ends_with(" at 0"))
        && bytes(now) > bytes(before)
}

fn snapshot(text: &str) -> Abi {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn the_binary_interface_is_the_committed_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let declared = parse(&header());
    let exported = symbols(&library());
    let mut now: Abi = layout(folder.path()).into_iter().collect();
    for (name, prototype) in &declared.functions {
        assert!(exported.contains(name), "{name} is declared and not exported");
        now.insert(format!("function {name}"), prototype.clone());
    }
    now.extend(
        declared
            .callbacks
            .iter()
            .map(|(name, type_)| (format!("callback {name}"), type_.clone())),
    );
    // Beside them the library exports what the two halves of the cxx bridge call in each other, which no header declares.
    let stray: Vec<&String> = exported
        .iter()
        .filter(|name| !declared.functions.contains_key(*name) && !name.contains("cxxbridge"))
        .collect();
    assert!(stray.is_empty(), "exported and not declared: {stray:?}");

    let path = walk::root().join("tests/c/abi.txt");
    let old = snapshot(&fs::read_to_string(&path).unwrap_or_default());
    let (broken, added) = compare(&old, &now);
    let version = "constant PARK_ABI_VERSION";
    let moved = old.get(version) != now.get(version);
    assert!(
        broken.is_empty() || moved,
        "programs that were compiled before would break; if that is meant, raise PARK_ABI_VERSION:\n{}",
        broken.join("\n")
    );
    if std::env::var_os("PARK_ABI").is_some_and(|mode| mode == "write") {
        let lines: Vec<String> = now.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let head = "# The binary interface of libpark on x86-64 Linux. Written by `make abi`, which only adds: see tests/arch/abi.rs.\n";
        fs::write(&path, format!("{head}{}", lines.concat())).expect("tests/c/abi.txt can be written");
        return;
    }
    assert!(
        added.is_empty() && broken.is_empty(),
        "not in tests/c/abi.txt: run `make abi` if this is meant\n{}\n{}",
        added.join("\n"),
        broken.join("\n")
    );
}

#[test]
fn the_comparison_knows_a_break_from_an_addition() {
    let old = snapshot(
        "struct s = 16 bytes\nmember s.struct_size = 8 bytes at 0\nmember s.a = 8 bytes at 8\nfunction f = int f(void)\n",
    );
    let with = |key: &str, value: &str| {
        let mut abi = old.clone();
        abi.insert(key.to_owned(), value.to_owned());
        compare(&old, &abi)
    };
    assert_eq!(
        with("function g", "int g(void)"),
        (vec![], vec!["new: function g = int g(void)".to_owned()])
    );
    assert_eq!(
        with("struct s", "24 bytes").0.len(),
        0,
        "a struct with struct_size grows at its end"
    );
    assert_eq!(with("struct s", "8 bytes").0.len(), 1);
    assert_eq!(with("member s.a", "4 bytes at 8").0.len(), 1);
    assert_eq!(with("function f", "int f(int)").0.len(), 1);
    let mut fewer = old.clone();
    fewer.remove("function f");
    assert_eq!(compare(&old, &fewer).0, ["gone: function f = int f(void)"]);
}

/// A source that includes `name` twice, under each compiler, dialect and flag that is promised.
#[test]
fn the_headers_compile_in_every_dialect() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let strict = [
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-Wconversion",
        "-fsyntax-only",
        "-I",
    ];
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        (
            "a.c",
            "park.h",
            &["-std=c11", "-std=c17", "-std=gnu11"],
            &["-Wstrict-prototypes"],
        ),
        ("a.cpp", "park.h", &["-std=c++17", "-std=c++20"], &[]),
        ("b.cpp", "park.hpp", &["-std=c++17", "-std=c++20"], &[]),
        ("c.cpp", "park.hpp", &["-std=c++17"], &["-fno-exceptions", "-fno-rtti"]),
    ];
    let mut count = 0;
    for (file, include, dialects, flags) in cases {
        let source = folder.path().join(file);
        fs::write(&source, format!("#include <{include}>\n#include <{include}>\n")).expect("the folder is ours");
        for compiler in compilers(file.ends_with(".cpp")) {
            for dialect in *dialects {
                let mut command = Command::new(&compiler);
                command
                    .arg(dialect)
                    .args(*flags)
                    .args(strict)
                    .arg(walk::root().join("include"));
                run(command.arg(&source));
                count += 1;
            }
        }
    }
    assert!(count >= 8, "only {count} combinations were tried");
}
