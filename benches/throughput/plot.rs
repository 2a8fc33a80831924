//! The plot of benches/README.md: how fast each row is, as a share of what TCP reaches.

use super::{
    link::Kind,
    table::{Row, Unit},
};
use crate::common::plot::{OTHERS, OURS, Svg, TEXT};

const WIDTH: f64 = 720.0;

/// Where the bars begin, and where twice the speed of TCP is.
const LEFT: f64 = 290.0;
const RIGHT: f64 = 680.0;
const MAX: f64 = 2.0;

const TOP: f64 = 56.0;
const ROW: f64 = 34.0;
const BAR: f64 = 12.0;

pub(crate) fn svg(rows: &[Row]) -> String {
    let rows = rows
        .iter()
        .filter(|row| matches!(row.unit, Unit::GigabytesPerSecond | Unit::Microseconds))
        .collect::<Vec<_>>();
    let bottom = TOP + ROW * rows.len() as f64;
    let title = "Speed of WebSocket connections, where that of TCP is one";
    let mut svg = Svg::new([WIDTH, bottom + 30.0], 13, title);
    svg.put(format_args!(
        r#"<text x="10" y="20">speed, where that of TCP is 1:</text>"#
    ));
    svg.put(format_args!(
        r#"<text x="{LEFT}" y="20" fill="{OURS}">this crate</text>"#
    ));
    svg.put(format_args!(
        r#"<text x="{}" y="20" fill="{OTHERS}">libp2p-websocket</text>"#,
        LEFT + 90.0
    ));
    for half in 0..=4 {
        let (value, x) = (f64::from(half) / 2.0, x(f64::from(half) / 2.0));
        svg.put(format_args!(
            r#"<path d="M{x:.1} {}V{bottom:.1}" stroke="{TEXT}" stroke-opacity=".35"/>"#,
            TOP - 8.0
        ));
        svg.put(format_args!(
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{value}</text>"#,
            bottom + 18.0
        ));
    }
    for (row, at) in rows.into_iter().zip(0..) {
        let y = TOP + ROW * f64::from(at);
        svg.put(format_args!(
            r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 10.0,
            y + BAR + 4.0,
            row.what
        ));
        let ours = row.ratio(Kind::Tcp);
        let libp2p = ours / row.ratio(Kind::Libp2p);
        for (ratio, colour, y) in [(ours, OURS, y), (libp2p, OTHERS, y + BAR)] {
            let width = x(ratio) - LEFT;
            svg.put(format_args!(
                r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{}" fill="{colour}"/>"#,
                BAR - 1.0
            ));
            svg.put(format_args!(
                r#"<text x="{:.1}" y="{:.1}" font-size="11" fill="{colour}">{ratio:.2}</text>"#,
                LEFT + width + 4.0,
                y + BAR - 2.0
            ));
        }
    }
    svg.finish()
}

/// The end of a bar. One that is too long is cut, and says its number.
fn x(ratio: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * ratio.min(MAX) / MAX
}
