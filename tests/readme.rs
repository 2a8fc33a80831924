//! What the README shows and is no test of the documentation, as it needs a feature.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

/// The first block of this kind, without what its lines begin with, and without those that rustdoc hides.
fn block(file: &str, start: &str, prefix: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(prefix))
        .map(|line| {
            line.strip_prefix(' ')
                .filter(|_| !prefix.is_empty())
                .unwrap_or(line)
        });
    let block = lines
        .skip_while(|line| *line != format!("```{start}"))
        .skip(1);
    let block = block.take_while(|line| *line != "```");
    let shown: Vec<_> = block.filter(|line| !line.starts_with("# ")).collect();
    shown.join("\n")
}

#[test]
fn the_recipe_for_autotls_is_the_example_of_its_module() {
    let recipe = block("README.md", "rust,ignore", "");
    assert!(recipe.contains("autotls::Behaviour"));
    assert_eq!(recipe, block("src/autotls.rs", "no_run", "//!"));
}
