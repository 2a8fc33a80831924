//! The plot of benches/README.md: how fast each row is, as a share of what TCP reaches.

use std::fmt::Write as _;

use super::{
    link::Kind,
    table::{Row, Unit},
};

const WIDTH: f64 = 720.0;

/// Where the bars begin, and where twice the speed of TCP is.
const LEFT: f64 = 290.0;
const RIGHT: f64 = 680.0;
const MAX: f64 = 2.0;

const TOP: f64 = 56.0;
const ROW: f64 = 34.0;
const BAR: f64 = 12.0;

/// Colours that can be told apart, and from a background that is light or dark.
const OURS: &str = "#2f81f7";
const LIBP2P: &str = "#e0823d";
const TEXT: &str = "#848d97";

pub(crate) fn svg(rows: &[Row]) -> String {
    let rows = rows
        .iter()
        .filter(|row| matches!(row.unit, Unit::GigabytesPerSecond | Unit::Microseconds))
        .collect::<Vec<_>>();
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 30.0;
    let mut svg = format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" "#,
            r#"font-family="system-ui, sans-serif" font-size="13" fill="{}">"#,
            "\n<title>Speed of WebSocket connections, where that of TCP is one</title>\n",
        ),
        WIDTH, height, TEXT
    );
    let mut put = |text: std::fmt::Arguments<'_>| {
        svg.write_fmt(text).expect("a string takes anything");
        svg.push('\n');
    };
    put(format_args!(
        r#"<text x="10" y="20">speed, where that of TCP is 1:</text>"#
    ));
    put(format_args!(
        r#"<text x="{LEFT}" y="20" fill="{OURS}">this crate</text>"#
    ));
    put(format_args!(
        r#"<text x="{}" y="20" fill="{LIBP2P}">libp2p-websocket</text>"#,
        LEFT + 90.0
    ));
    for half in 0..=4 {
        let (value, x) = (f64::from(half) / 2.0, x(f64::from(half) / 2.0));
        put(format_args!(
            r#"<path d="M{x:.1} {}V{bottom:.1}" stroke="{TEXT}" stroke-opacity=".35"/>"#,
            TOP - 8.0
        ));
        put(format_args!(
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{value}</text>"#,
            bottom + 18.0
        ));
    }
    for (row, at) in rows.into_iter().zip(0..) {
        let y = TOP + ROW * f64::from(at);
        put(format_args!(
            r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 10.0,
            y + BAR + 4.0,
            row.what
        ));
        let ours = row.ratio(Kind::Tcp);
        let libp2p = ours / row.ratio(Kind::Libp2p);
        for (ratio, colour, y) in [(ours, OURS, y), (libp2p, LIBP2P, y + BAR)] {
            let width = x(ratio) - LEFT;
            put(format_args!(
                r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{}" fill="{colour}"/>"#,
                BAR - 1.0
            ));
            put(format_args!(
                r#"<text x="{:.1}" y="{:.1}" font-size="11" fill="{colour}">{ratio:.2}</text>"#,
                LEFT + width + 4.0,
                y + BAR - 2.0
            ));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The end of a bar. One that is too long is cut, and says its number.
fn x(ratio: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * ratio.min(MAX) / MAX
}
