//! No file of the library imports from another that imports from it, directly or by a detour.
//!
//! A name counts for the file that defines it, so a parent may re-export what its children define. What only tests and
//! fuzz targets see is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A module by its path in the crate, or any other path.
type Names = Vec<String>;

#[derive(Default)]
struct Module {
    /// What is imported and by which name, and whether that is for others.
    uses: Vec<(Names, String, bool)>,
    /// Paths in its code.
    paths: Vec<Names>,
}

#[test]
fn nothing_is_imported_in_a_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let circles = circles(&|file| fs::read_to_string(src.join(file)).ok());
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let circles = |files: &[(&str, &str)]| {
        let files: BTreeMap<_, _> = files.iter().copied().collect();
        circles(&|file| files.get(file).map(|text| (*text).to_owned()))
    };
    let lib = ("lib.rs", "mod a; mod b;");
    let b = ("b.rs", "pub struct B; use crate::a::A;");
    for a in [
        "use crate::b::B;",
        "use super::b::B;",
        "use crate::{b::{B, B as C}};",
        "fn f<'a>() -> char { crate::b::B; '\"' }",
        "use crate::b; fn f() { b::B }",
    ] {
        let found = circles(&[lib, ("a.rs", &format!("{a} pub struct A;")), b]);
        assert_eq!(found, ["a -> b", "b -> a"], "{a}");
    }
    for a in [
        "// use crate::b::B;",
        "const A: &str = \"crate::b::B\";",
        "#[cfg(test)] mod tests { use crate::b::B; }",
    ] {
        let found = circles(&[lib, ("a.rs", &format!("{a} pub struct A;")), b]);
        assert_eq!(found, [""; 0], "{a}");
    }
    let face = ("lib.rs", "mod a; mod b; pub use b::B; pub use a::A;");
    let through = [
        face,
        ("a.rs", "use crate::B; struct A;"),
        ("b.rs", "use crate::A; struct B;"),
    ];
    assert_eq!(circles(&through), ["a -> b", "b -> a"]);
    assert_eq!(
        circles(&[face, ("a.rs", "use crate::B;"), ("b.rs", "struct B;")]),
        [""; 0]
    );
}

/// The imports that belong to a circle.
fn circles(read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut modules = BTreeMap::new();
    load(Names::new(), "lib.rs", read, &mut modules);
    let mut edges = BTreeSet::new();
    for (name, module) in &modules {
        let imported = module
            .uses
            .iter()
            .filter(|(.., is_for_others)| !is_for_others);
        for path in imported.map(|(path, ..)| path).chain(&module.paths) {
            if let Some(target) = resolve(&modules, name, path, 0).filter(|target| target != name) {
                edges.insert((name.clone(), target));
            }
        }
    }
    let show = |names: &Names| match names.as_slice() {
        [] => "lib".to_owned(),
        names => names.join("::"),
    };
    let circle = edges.iter().filter(|(from, to)| reaches(&edges, to, from));
    circle
        .map(|(from, to)| format!("{} -> {}", show(from), show(to)))
        .collect()
}

fn reaches(edges: &BTreeSet<(Names, Names)>, from: &Names, to: &Names) -> bool {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            let further = edges.iter().filter(|(from, _)| from == module);
            next.extend(further.map(|(_, to)| to));
        }
    }
    reached.contains(to)
}

/// Reads a module and those below it.
fn load(
    name: Names,
    file: &str,
    read: &dyn Fn(&str) -> Option<String>,
    modules: &mut BTreeMap<Names, Module>,
) {
    let text = read(file).unwrap_or_else(|| panic!("there is no {file}"));
    let tokens = without_tests(&tokens(&text));
    let mut module = Module::default();
    let mut at = 0;
    while at < tokens.len() {
        let next = |ahead: usize| tokens.get(at + ahead).map_or("", String::as_str);
        match next(0) {
            "mod" if next(2) == ";" => {
                let child = [name.clone(), vec![next(1).to_owned()]].concat();
                load(
                    child.clone(),
                    &format!("{}.rs", child.join("/")),
                    read,
                    modules,
                );
                at += 3;
            }
            "use" => {
                // `pub`, or the end of `pub(crate)`.
                let before = at
                    .checked_sub(1)
                    .map_or("", |before| tokens[before].as_str());
                let mut leaves = Vec::new();
                at = tree(&tokens, at + 1, &Names::new(), &mut leaves);
                let is_for_others = ["pub", ")"].contains(&before);
                let uses = leaves
                    .into_iter()
                    .map(|(path, alias)| (path, alias, is_for_others));
                module.uses.extend(uses);
            }
            first if is_name(first) && next(1) == "::" => {
                let mut leaves = Vec::new();
                at = tree(&tokens, at, &Names::new(), &mut leaves);
                module
                    .paths
                    .extend(leaves.into_iter().map(|(path, _)| path));
            }
            _ => at += 1,
        }
    }
    modules.insert(name, module);
}

/// Reads `a::{b, c::d as e}`, and returns where it ends.
fn tree(
    tokens: &[String],
    mut at: usize,
    before: &Names,
    leaves: &mut Vec<(Names, String)>,
) -> usize {
    let mut path = before.clone();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => at += 1,
            "{" if tokens[at - 1] == "::" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = match tokens[at].as_str() {
                        "," => at + 1,
                        _ => tree(tokens, at, &path, leaves).max(at + 1),
                    };
                }
                return at + 1;
            }
            name if is_name(name)
                && name != "as"
                && (path == *before || tokens[at - 1] == "::") =>
            {
                path.push(name.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    let mut alias = path.last().cloned().unwrap_or_default();
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
        alias = path.last().cloned().unwrap_or_default();
    }
    if tokens.get(at).is_some_and(|token| token == "as") {
        alias = tokens[at + 1].clone();
        at += 2;
    }
    leaves.push((path, alias));
    at
}

/// The module that defines what a path in `module` names; `None` if that is a module itself, or not of this crate.
fn resolve(
    modules: &BTreeMap<Names, Module>,
    module: &Names,
    path: &[String],
    depth: usize,
) -> Option<Names> {
    let (first, rest) = path.split_first()?;
    let child = [module.clone(), vec![first.clone()]].concat();
    match first.as_str() {
        // A re-export that names itself is not of this crate.
        _ if depth > 16 => None,
        "crate" => descend(modules, &Names::new(), rest, depth),
        "self" => descend(modules, module, rest, depth),
        "super" => {
            let parent = module[..module.len().checked_sub(1)?].to_vec();
            match rest.first().is_some_and(|next| next == "super") {
                true => resolve(modules, &parent, rest, depth),
                false => descend(modules, &parent, rest, depth),
            }
        }
        _ if modules.contains_key(&child) => descend(modules, &child, rest, depth),
        _ => {
            let (imported, ..) = modules[module]
                .uses
                .iter()
                .find(|(.., alias, _)| alias == first)?;
            let whole = [imported, rest].concat();
            (whole != path).then(|| resolve(modules, module, &whole, depth + 1))?
        }
    }
}

fn descend(
    modules: &BTreeMap<Names, Module>,
    module: &Names,
    path: &[String],
    depth: usize,
) -> Option<Names> {
    let first = path.first()?;
    let child = [module.clone(), vec![first.clone()]].concat();
    let is_imported = modules
        .get(module)?
        .uses
        .iter()
        .any(|(.., alias, _)| alias == first);
    match modules.contains_key(&child) || is_imported {
        true => resolve(modules, module, path, depth + 1),
        false => Some(module.clone()),
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::`, and other characters one by one; no comments, strings and character literals.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let name = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let behind = &rest[first.len_utf8()..];
        let hashes = behind.len() - behind.trim_start_matches('#').len();
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            'r' if behind[hashes..].starts_with('"') => {
                let end = format!("\"{}", "#".repeat(hashes));
                let start = 2 + hashes;
                rest[start..]
                    .find(&end)
                    .map_or(rest.len(), |at| start + at + end.len())
            }
            '"' => literal(rest, '"'),
            '\'' if behind.starts_with('\\') || rest.chars().nth(2) == Some('\'') => {
                literal(rest, '\'')
            }
            _ => 0,
        };
        let taken = match first {
            _ if skipped > 0 => "",
            _ if name > 0 => &rest[..name],
            ':' if rest.starts_with("::") => "::",
            first if first.is_whitespace() => "",
            first => &rest[..first.len_utf8()],
        };
        if !taken.is_empty() {
            tokens.push(taken.to_owned());
        }
        rest = &rest[skipped.max(taken.len()).max(first.len_utf8())..];
    }
    tokens
}

/// The length of a literal between such quotes.
fn literal(text: &str, quote: char) -> usize {
    let mut is_escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Leaves out each item, or field, with a `#[cfg(..)]` that asks for tests or fuzzing.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let attribute = ["#", "[", "cfg", "("];
        let end = tokens[at..]
            .iter()
            .position(|token| token == "]")
            .unwrap_or_default();
        let condition = &tokens[at..at + end];
        let asks = |what: &str| condition.iter().any(|token| token == what);
        let is_cfg = condition.len() > 4 && condition.iter().zip(attribute).all(|(a, b)| a == b);
        if !is_cfg || asks("not") || !(asks("test") || asks("fuzzing")) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += end + 1;
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" if depth == 1 => break,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                ";" | "," if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}
