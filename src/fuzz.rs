//! What a fuzzer runs: functions of bytes that panic if something is wrong. A plain test runs them too.

/// Operations on the listeners of [`lazy`](crate::lazy), held against its contracts.
pub fn listeners(data: &[u8]) {
    crate::lazy::fuzz_listeners(data);
}

/// Messages, time and whatever else happens to the schedule and the table of [`discovery`](crate::discovery), held
/// against their contracts.
pub fn discovery(data: &[u8]) {
    crate::discovery::fuzz_operations(data);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

    use crate::deadline;

    /// Runs `target` on its corpus, and for ten seconds on input that a seed gives.
    fn run(name: &str, longest: usize, target: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(name);
        match fs::read_dir(corpus) {
            Ok(files) => {
                for file in files {
                    target(&fs::read(file.unwrap().path()).unwrap());
                }
            }
            Err(error) => eprintln!("SKIPPED: the corpus is not in the published package: {error}"),
        }
        let end = deadline::now() + Duration::from_secs(10);
        let mut seed = 0;
        while deadline::now() < end {
            // A failure is repeated by this seed alone.
            let _seed = Seed(seed);
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut data = vec![0; rng.random_range(0..longest)];
            rng.fill(&mut data[..]);
            target(&data);
            seed += 1;
        }
    }

    /// Says which one it was, if the target panics.
    struct Seed(u64);

    impl Drop for Seed {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input of seed {}", self.0);
            }
        }
    }

    #[test]
    fn listeners() {
        run("listeners", 2000, super::listeners);
    }

    #[test]
    fn discovery() {
        run("discovery", 2000, super::discovery);
    }
}
