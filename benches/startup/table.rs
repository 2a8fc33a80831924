//! Two subjects measured in turn, and a table of what came out.

use std::{fmt, time::Duration};

use criterion::{BenchmarkGroup, SamplingMode, measurement::WallTime};

/// With fewer rounds, a row is not judged. Criterion does a single one when it only tests.
const MIN_ROUNDS: usize = 31;

/// Rows that each compare a subject with what stands beside it. Printed as Markdown.
pub(crate) struct Table {
    columns: [&'static str; 3],
    rows: Vec<Row>,
}

struct Row {
    what: String,
    target: Option<f64>,
    rounds: Vec<Round>,
}

struct Round {
    subject: Duration,
    beside: Duration,
}

impl Table {
    /// `columns` are the headings of the rows' names, of the subject and of what stands beside it.
    pub(crate) fn new(columns: [&'static str; 3]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Lets criterion measure `subject`, and `beside` in the same rounds: once each, in alternating order.
    ///
    /// Criterion reports the subject. The row has all rounds, those of the warm-up among them, which the medians
    /// do not mind; `target` is the ratio that is to be reached.
    pub(crate) fn row(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        what: impl Into<String>,
        target: Option<f64>,
        mut subject: impl FnMut() -> Duration,
        mut beside: impl FnMut() -> Duration,
    ) {
        let what = what.into();
        let mut rounds = Vec::new();
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function(&what, |bencher| {
            bencher.iter_custom(|iterations| {
                let new = (0..iterations).map(|_| {
                    let round = Round::run(rounds.len() % 2 == 0, &mut subject, &mut beside);
                    let duration = round.subject;
                    rounds.push(round);
                    duration
                });
                new.sum()
            });
        });
        // Criterion skips what the command line filters out.
        if !rounds.is_empty() {
            self.rows.push(Row {
                what,
                target,
                rounds,
            });
        }
    }
}

impl Round {
    fn run(
        is_subject_first: bool,
        subject: impl FnOnce() -> Duration,
        beside: impl FnOnce() -> Duration,
    ) -> Self {
        if is_subject_first {
            let subject = subject();
            let beside = beside();
            Self { subject, beside }
        } else {
            let beside = beside();
            let subject = subject();
            Self { subject, beside }
        }
    }

    fn ratio(&self) -> f64 {
        self.subject.as_secs_f64() / self.beside.as_secs_f64()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        let [name, subject, beside] = self.columns;
        writeln!(
            f,
            "\n| {name} | {subject} | {beside} | ratio | to reach | | rounds |"
        )?;
        writeln!(f, "| --- | --: | --: | --: | --: | --- | --: |")?;
        self.rows.iter().try_for_each(|row| row.fmt(f))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rounds.len();
        let seconds = |pick: fn(&Round) -> Duration| {
            median(self.rounds.iter().map(|round| pick(round).as_secs_f64()))
        };
        let subject = Duration::from_secs_f64(seconds(|round| round.subject));
        let beside = Duration::from_secs_f64(seconds(|round| round.beside));
        let ratio = median(self.rounds.iter().map(Round::ratio));
        let (target, verdict) = match self.target {
            None => (String::new(), ""),
            Some(target) => (
                format!("{target:.2}"),
                match () {
                    () if rounds < MIN_ROUNDS => "too few rounds",
                    () if ratio <= target => "reached",
                    () => "missed",
                },
            ),
        };
        writeln!(
            f,
            "| {} | {subject:.1?} | {beside:.1?} | {ratio:.3} | {target} | {verdict} | {rounds} |",
            self.what
        )
    }
}

/// The middle one, or the upper of both.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
