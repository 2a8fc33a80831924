//! A plot as SVG.

use std::fmt::{Arguments, Write as _};

/// Colours that can be told apart, and from a background that is light or dark.
pub(crate) const OURS: &str = "#2f81f7";
pub(crate) const OTHERS: &str = "#e0823d";
pub(crate) const TEXT: &str = "#848d97";

/// What has been drawn so far.
pub(crate) struct Svg(String);

impl Svg {
    pub(crate) fn new([width, height]: [f64; 2], font_size: u32, title: &str) -> Self {
        let mut svg = Self(String::new());
        svg.put(format_args!(
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" "#,
                r#"font-family="system-ui, sans-serif" font-size="{}" fill="{}">"#,
                "\n<title>{}</title>",
            ),
            width, height, font_size, TEXT, title
        ));
        svg
    }

    /// One element more.
    pub(crate) fn put(&mut self, element: Arguments<'_>) {
        self.0.write_fmt(element).expect("a string takes anything");
        self.0.push('\n');
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}
