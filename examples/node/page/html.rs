//! The page as it is before its script runs, or without it. The script shows the same.

use std::{
    collections::VecDeque,
    fmt::{self, Display, Write as _},
};

use super::{
    overlay::{Kind, MAX_LABELS, Overlay},
    state::{Certificate, State},
};

const TEMPLATE: &str = include_str!("../page.html");

/// The policy for a page whose script and style have this nonce: nothing from elsewhere, and nothing to elsewhere.
pub(crate) fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

pub(crate) fn page(state: &State, nonce: &str) -> String {
    let mut html = String::with_capacity(2 * TEMPLATE.len());
    for (index, part) in TEMPLATE.split("{{").enumerate() {
        let text = match part.split_once("}}") {
            Some((name, text)) if index > 0 => {
                html.push_str(&value(state, nonce, name));
                text
            }
            _ => part,
        };
        html.push_str(text);
    }
    html
}

/// What stands in the place of this name, as HTML.
fn value(state: &State, nonce: &str, name: &str) -> String {
    let announcements = &state.announcements;
    let (received, own) = (&announcements.received, &announcements.own);
    let peak = received.iter().zip(own).map(|(one, other)| one + other);
    let peak = peak.max().unwrap_or(0).max(5);
    match name {
        "nonce" => nonce.to_owned(),
        "title" => escaped(&state.title),
        "id" => escaped(&state.id),
        "known" => state.known.to_string(),
        "connected" => state.connected.to_string(),
        "rate" => format!("{:.1}", announcements.per_second),
        "up" => time(state.up_seconds),
        "legend" => escaped(&state.legend),
        "overlay" => overlay(&state.overlay),
        "received" => bars(received, &VecDeque::new(), peak),
        "own" => bars(own, received, peak),
        "peak" => peak.to_string(),
        "addresses" => elements("li", &state.addresses),
        "kinds" => rows(state.kinds.iter().map(|one| {
            let cells = [
                one.kind.to_owned(),
                one.incoming.to_string(),
                one.outgoing.to_string(),
            ];
            Row::new(one.kind, "", cells.map(|text| vec![text]))
        })),
        "listeners" => rows(state.listeners.iter().enumerate().map(|(index, one)| {
            let mut lines = vec![one.state.clone(), format!("for {}", time(one.for_seconds))];
            lines.extend(one.certificates.iter().map(certificate));
            let key = format!("{index} {}", one.address);
            let cells = [vec![one.address.clone()], one.addresses.clone(), lines];
            Row::new(key, ok(one.is_ready), cells)
        })),
        "hubs" => rows(state.hubs.iter().map(|hub| {
            let cells = [&hub.address, &hub.state].map(|text| vec![text.clone()]);
            Row::new(&hub.address, ok(hub.is_connected), cells)
        })),
        "peers" => rows(state.peers.iter().map(|peer| {
            let heard = format!("{} ago", time(peer.heard_seconds_ago));
            let (state, word) = match peer.is_connected {
                true => ("ok", "connected"),
                false => ("", ""),
            };
            let cells = [
                vec![peer.id.clone(), peer.agent.clone()],
                peer.addresses.clone(),
                vec![heard, word.to_owned()],
            ];
            Row::new(&peer.id, state, cells)
        })),
        "connections" => rows(state.connections.iter().map(|one| {
            let kind = format!("{}, {}", one.kind, one.direction);
            let cells = [
                vec![one.peer.clone(), one.agent.clone()],
                vec![one.address.clone()],
                vec![kind, format!("for {}", time(one.for_seconds))],
            ];
            Row::new(&one.number, "ok", cells)
        })),
        name => unreachable!("{name}"),
    }
}

/// The key and the state are for the script and for the style.
struct Row {
    key: String,
    state: &'static str,
    /// The lines of each cell. Empty ones are left out.
    cells: Vec<Vec<String>>,
}

impl Row {
    fn new(
        key: impl Into<String>,
        state: &'static str,
        cells: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        Self {
            key: key.into(),
            state,
            cells: cells.into_iter().collect(),
        }
    }
}

fn rows(rows: impl Iterator<Item = Row>) -> String {
    let mut html = String::new();
    for Row { key, state, cells } in rows {
        let cells = cells.iter().map(|lines| elements("span", lines));
        let cells = cells.map(|lines| format!("<td>{lines}</td>"));
        let cells: String = cells.collect();
        let key = Escaped(&key);
        let _ = write!(
            html,
            r#"<tr data-key="{key}" data-state="{state}">{cells}</tr>"#
        );
    }
    html
}

fn elements(tag: &str, lines: &[String]) -> String {
    let lines = lines.iter().filter(|line| !line.is_empty());
    let lines = lines.map(|line| format!("<{tag}>{}</{tag}>", Escaped(line)));
    lines.collect()
}

fn ok(is_ok: bool) -> &'static str {
    if is_ok { "ok" } else { "wait" }
}

fn certificate(certificate: &Certificate) -> String {
    let days = match certificate.days_left {
        Some(days) => format!("{days} days left"),
        None => "no certificate".to_owned(),
    };
    let rest = certificate.state.iter().map(|state| format!(": {state}"));
    format!("{}: {days}{}", certificate.source, rest.collect::<String>())
}

fn time(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let unit = units.iter().find(|(length, _)| seconds >= *length);
    let (length, unit) = unit.unwrap_or(&(1, "s"));
    format!("{} {unit}", seconds / length)
}

/// A bar for each count, above those of `below`.
fn bars(counts: &VecDeque<u64>, below: &VecDeque<u64>, peak: u64) -> String {
    let height = |count: u64| 56.0 * count as f64 / peak as f64;
    let bars = counts.iter().enumerate().map(|(index, count)| {
        let below = height(below.get(index).copied().unwrap_or(0));
        format!(
            "M{} {:.1}v{:.1}",
            index * 4 + 2,
            60.0 - below,
            -height(*count)
        )
    });
    bars.collect()
}

fn overlay(overlay: &Overlay) -> String {
    let (nodes, radius) = (&overlay.nodes, overlay.radius);
    let mut html = String::new();
    for [a, b] in &overlay.edges {
        let (a, b) = (&nodes[*a], &nodes[*b]);
        let _ = write!(
            html,
            r#"<line x1="{}" y1="{}" x2="{}" y2="{}"/>"#,
            a.x, a.y, b.x, b.y
        );
    }
    for node in nodes {
        let (class, radius, text) = match node.kind {
            Kind::Own => ("own", 6.0, 14.0),
            Kind::Connected => ("connected", radius, radius + 6.5),
            Kind::Known => ("known", radius, radius + 6.5),
        };
        let text = if node.y < 0.0 { 3.0 - text } else { text };
        let label = match nodes.len() > MAX_LABELS && node.kind != Kind::Own {
            true => "",
            false => &node.label,
        };
        let _ = write!(
            html,
            r#"<g class="{class}" transform="translate({} {})"><circle r="{radius}"><title>{}</title></circle><text y="{text}">{}</text></g>"#,
            node.x,
            node.y,
            Escaped(&node.id),
            Escaped(label)
        );
    }
    html
}

fn escaped(text: &str) -> String {
    Escaped(text).to_string()
}

/// Text as HTML, within elements and quoted attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::state::{Connection, Hub, Listener, Peer},
        *,
    };

    /// What ends an element, an attribute of either quotes, and a script.
    const FOUL: &str = "</script><script>alert(1)</script>'\"><img src=x onerror=alert(2)>&lt;";

    #[test]
    fn nothing_that_others_wrote_is_html() {
        let state = |text: fn() -> String| State {
            title: text(),
            id: text(),
            addresses: vec![text()],
            listeners: vec![Listener {
                address: text(),
                is_ready: true,
                state: text(),
                for_seconds: 0,
                addresses: vec![text()],
                certificates: vec![Certificate {
                    source: text(),
                    days_left: None,
                    state: Some(text()),
                }],
            }],
            hubs: vec![Hub {
                address: text(),
                is_connected: false,
                state: text(),
            }],
            peers: vec![Peer {
                id: text(),
                agent: text(),
                addresses: vec![text()],
                is_connected: true,
                heard_seconds_ago: 0,
                heard_at_ms: 0,
            }],
            connections: vec![Connection {
                number: text(),
                peer: text(),
                agent: text(),
                kind: "ws",
                direction: "incoming",
                address: text(),
                for_seconds: 0,
            }],
            overlay: Overlay {
                nodes: vec![super::super::overlay::Node {
                    id: text(),
                    label: text(),
                    kind: Kind::Own,
                    x: 0.0,
                    y: 0.0,
                }],
                ..Overlay::default()
            },
            legend: text(),
            ..State::default()
        };
        let html = page(&state(|| FOUL.to_owned()), "nonce");
        assert!(!html.contains(FOUL) && html.contains(&escaped(FOUL)));
        // There are as many of these as with harmless texts, and no more.
        let harmless = page(&state(|| "harmless".to_owned()), "nonce");
        for what in ["<", ">", "\"", "'"] {
            assert_eq!(html.matches(what).count(), harmless.matches(what).count());
        }
    }

    #[test]
    fn a_page_without_anything_is_whole() {
        let html = page(&State::default(), "abc");
        assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
        assert!(!html.contains("{{") && html.matches("nonce=\"abc\"").count() == 2);
        assert!(html.contains(r#"<tbody id="peers"></tbody>"#));
        assert!(TEMPLATE.lines().count() <= 400);
    }

    #[test]
    fn times_are_short() {
        let told = [0, 59, 60, 7_199, 86_400].map(time);
        assert_eq!(told, ["0 s", "59 s", "1 min", "1 h", "1 d"]);
    }
}
