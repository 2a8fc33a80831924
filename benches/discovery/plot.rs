//! The plot of benches/README.md: what a node receives by how many nodes there are, both axes logarithmic.

use crate::{
    common::{
        plot::{OTHERS, OURS, Svg, TEXT},
        thousands,
    },
    report::{Kind, Report},
};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;

/// Where the axes are.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 540.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 340.0;

/// The powers of ten between which the axes run.
const NODES: (i32, i32) = (1, 4);
const RATE: (i32, i32) = (-1, 3);

pub(crate) fn svg(report: &Report) -> String {
    let title = "Announcements that a node receives in a second, by the number of nodes";
    let mut svg = Svg::new([WIDTH, HEIGHT], 14, title);
    grid(&mut svg);
    line(&mut svg, report, Kind::Js, OTHERS, "js-libp2p's rule");
    line(&mut svg, report, Kind::Steady, OURS, "this crate");
    svg.finish()
}

fn grid(svg: &mut Svg) {
    svg.put(format_args!(
        r#"<text x="{LEFT}" y="20">announcements received per second and node</text>"#
    ));
    for power in RATE.0..=RATE.1 {
        let y = y(10_f64.powi(power));
        svg.put(format_args!(
            r#"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="{TEXT}" stroke-opacity=".35"/>"#
        ));
        let (x, y) = (LEFT - 10.0, y + 5.0);
        let label = match power {
            0.. => thousands(10_usize.pow(power.unsigned_abs())),
            _ => 10_f64.powi(power).to_string(),
        };
        svg.put(format_args!(
            r#"<text x="{x}" y="{y:.1}" text-anchor="end">{label}</text>"#
        ));
    }
    for power in NODES.0..=NODES.1 {
        let nodes = 10_usize.pow(power.unsigned_abs());
        let (x, y) = (x(nodes as f64), BOTTOM + 24.0);
        let label = thousands(nodes);
        svg.put(format_args!(
            r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{label}</text>"#
        ));
    }
    let (x, y) = ((LEFT + RIGHT) / 2.0, BOTTOM + 48.0);
    svg.put(format_args!(
        r#"<text x="{x}" y="{y}" text-anchor="middle">nodes</text>"#
    ));
}

fn line(svg: &mut Svg, report: &Report, kind: Kind, colour: &str, name: &str) {
    let points = report
        .of(kind)
        .map(|row| (x(row.plan.nodes as f64), y(row.measured.received)))
        .collect::<Vec<_>>();
    let Some(&(last_x, last_y)) = points.last() else {
        return;
    };
    let list = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect::<Vec<_>>()
        .join(" ");
    svg.put(format_args!(
        r#"<polyline points="{list}" fill="none" stroke="{colour}" stroke-width="2.5"/>"#
    ));
    for (x, y) in points {
        svg.put(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#
        ));
    }
    let (x, y) = (last_x + 14.0, last_y + 5.0);
    let rate = report.of(kind).last().map(|row| row.measured.received);
    let rate = thousands(rate.unwrap_or_default().round() as usize);
    svg.put(format_args!(
        r#"<text x="{x:.1}" y="{y:.1}" fill="{colour}">{name}: {rate}</text>"#
    ));
}

fn x(nodes: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * share(nodes, NODES)
}

fn y(rate: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * share(rate, RATE)
}

/// How far between the powers of ten.
fn share(value: f64, (from, to): (i32, i32)) -> f64 {
    (value.log10() - f64::from(from)) / f64::from(to - from)
}
