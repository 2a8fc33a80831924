//! Rounds in which each of the subjects that are compared has its turn, so that other load on the machine meets all of them.

/// What each subject has come to in each round.
#[derive(Debug)]
pub(crate) struct Rounds<T> {
    /// By the round and the subject.
    measured: Vec<Vec<T>>,
}

impl<T> Rounds<T> {
    /// Measures so many subjects so many times: each is the first, the second and the last one of a round as often.
    pub(crate) fn run<E>(
        rounds: usize,
        subjects: usize,
        mut measure: impl FnMut(usize) -> Result<T, E>,
    ) -> Result<Self, E> {
        let round = |round: usize| {
            let first = round % subjects;
            let mut turns = (first..subjects)
                .chain(0..first)
                .map(&mut measure)
                .collect::<Result<Vec<_>, E>>()?;
            turns.rotate_right(first);
            Ok(turns)
        };
        let measured = (0..rounds).map(round).collect::<Result<_, E>>()?;
        Ok(Self { measured })
    }

    pub(crate) fn len(&self) -> usize {
        self.measured.len()
    }

    /// The same rounds in other figures.
    pub(crate) fn map<U>(&self, figure: impl Fn(&T) -> U) -> Rounds<U> {
        let measured = self.measured.iter();
        Rounds {
            measured: measured
                .map(|round| round.iter().map(&figure).collect())
                .collect(),
        }
    }
}

impl Rounds<f64> {
    /// The median of a subject.
    pub(crate) fn of(&self, subject: usize) -> f64 {
        median(self.measured.iter().map(|round| round[subject]))
    }

    /// The median of the ratios of a subject to another.
    pub(crate) fn ratio(&self, subject: usize, other: usize) -> f64 {
        median(
            self.measured
                .iter()
                .map(|round| round[subject] / round[other]),
        )
    }

    /// The median of how much more a subject has than another.
    pub(crate) fn above(&self, subject: usize, other: usize) -> f64 {
        median(
            self.measured
                .iter()
                .map(|round| round[subject] - round[other]),
        )
    }
}

/// The middle one, or the upper of both.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
