//! What the benches share: rounds in which what is compared runs in turn, and what is printed of them.

#![allow(dead_code, reason = "each bench uses its part")]

pub(crate) mod arguments;
pub(crate) mod plot;
pub(crate) mod rounds;
pub(crate) mod table;

/// With a comma before the last three digits.
pub(crate) fn thousands(number: usize) -> String {
    match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}
