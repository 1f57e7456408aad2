//! Reading `include/park.h`, which cbindgen wrote in one fixed style: just enough to name what it declares.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::walk;

/// What the header declares, in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// Name and prototype on one line.
    pub(crate) functions: BTreeMap<String, String>,
    /// Function types that a caller provides.
    pub(crate) callbacks: BTreeMap<String, String>,
    /// Structs whose members are public, with those.
    pub(crate) structs: BTreeMap<String, Vec<String>>,
    /// Names of integer types.
    pub(crate) scalars: Vec<String>,
    /// Names of integer constants.
    pub(crate) constants: Vec<String>,
}

pub(crate) fn header() -> String {
    fs::read_to_string(walk::root().join("include/park.h")).expect("the header is committed")
}

/// The C or C++ compilers that are installed; at least one is.
pub(crate) fn compilers(cpp: bool) -> Vec<String> {
    let names = if cpp { ["g++", "clang++"] } else { ["gcc", "clang"] };
    let installed = |name: &&str| {
        Command::new(name)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let found: Vec<String> = names
        .iter()
        .filter(|name| installed(name))
        .map(|name| (*name).to_owned())
        .collect();
    assert!(!found.is_empty(), "neither of {names:?} is installed");
    found
}

/// Statements with their layout made one: `//` comments and lines of the preprocessor are gone.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("#ifndef"))
        .filter(|line| !line.trim_start().starts_with("//") && !line.starts_with('#'))
        .collect();
    let mut found = Vec::new();
    let (mut depth, mut current) = (0, String::new());
    for letter in code.join(" ").chars() {
        match letter {
            '{' if current.trim() == "extern \"C\"" => current.clear(),
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if letter == ';' && depth == 0 {
            found.push(current.split_whitespace().collect::<Vec<_>>().join(" "));
            current.clear();
        } else if !(letter == '{' && depth == 0) {
            current.push(letter);
        }
    }
    found
}

fn last_word(text: &str) -> String {
    let text = text.split('[').next().unwrap_or(text);
    text.rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .next()
        .unwrap_or_default()
        .to_owned()
}

pub(crate) fn parse(text: &str) -> Declared {
    let mut declared = Declared::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("#define")
            && let (Some(name), Some(_)) = (words.next(), words.next())
        {
            declared.constants.push(name.to_owned());
        }
    }
    for statement in statements(text) {
        if let Some(rest) = statement.strip_prefix("typedef struct {") {
            let (members, name) = rest.rsplit_once('}').expect("a struct ends");
            let members = members
                .split(';')
                .map(last_word)
                .filter(|name| !name.is_empty())
                .collect();
            declared.structs.insert(name.trim().to_owned(), members);
        } else if statement.starts_with("typedef struct ") {
            // Opaque: its layout is nobody's business.
        } else if let Some(type_) = statement.strip_prefix("typedef ") {
            match type_.split_once("(*") {
                Some((_, rest)) => {
                    let name = rest.split(')').next().unwrap_or_default();
                    declared.callbacks.insert(name.to_owned(), type_.to_owned());
                }
                None => declared.scalars.push(last_word(type_)),
            }
        } else if let Some((head, _)) = statement.split_once('(') {
            declared.functions.insert(last_word(head), statement.clone());
        }
    }
    declared
}

#[test]
fn the_header_is_understood() {
    let declared = parse(&header());
    assert!(declared.functions.len() > 50, "{}", declared.functions.len());
    assert!(declared.functions["park_abi_version"].starts_with("uint32_t park_abi_version("));
    assert_eq!(declared.structs["park_object_id"], ["bytes"]);
    assert_eq!(declared.structs["park_tensor"].len(), 8);
    assert!(declared.scalars.contains(&"park_status".to_owned()) && declared.callbacks.contains_key("park_destructor"));
    for name in [
        "PARK_OK",
        "PARK_UNSUPPORTED",
        "PARK_BOOL",
        "PARK_ABI_VERSION",
        "PARK_TENSOR_MAX_NDIM",
    ] {
        assert!(declared.constants.iter().any(|constant| constant == name), "{name}");
    }
}
