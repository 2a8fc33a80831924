//! The targets of the fuzzer: functions of bytes that panic if a contract is broken. A plain test runs them too.

/// Operations on the listeners of [`lazy`](crate::lazy), checked against its contracts.
pub fn listeners(data: &[u8]) {
    crate::lazy::fuzz_listeners(data);
}

/// Messages, time and other inputs of the schedule and the table of [`discovery`](crate::discovery), checked
/// against their contracts.
pub fn discovery(data: &[u8]) {
    crate::discovery::fuzz::operations(data);
}

/// Bytes that may be an announcement of [`discovery`](crate::discovery), and their decoding.
pub fn announcement(data: &[u8]) {
    crate::discovery::fuzz::announcement(data);
}

/// Bytes that may be the HTTP request of a client of [`websocket`](crate::websocket).
pub fn request(data: &[u8]) {
    crate::websocket::fuzz_request(data);
}

/// Bytes that may be the HTTP response to a request of this node, and their redirects.
pub fn response(data: &[u8]) {
    crate::websocket::fuzz_response(data);
}

/// Bytes that may be the HTTP response of an outgoing proxy to a request for a tunnel.
pub fn tunnel(data: &[u8]) {
    crate::websocket::fuzz_tunnel(data);
}

/// Bytes that may begin a connection of which it is not known what it speaks, or for whom a proxy has opened it.
pub fn hearing(data: &[u8]) {
    crate::websocket::fuzz_hearing(data);
}

/// Bytes that may be a header of the PROXY protocol, version 1 or 2.
pub fn proxy(data: &[u8]) {
    crate::websocket::fuzz_proxy(data);
}

/// Bytes that may be the values of headers in which HTTP proxies tell for whom they connect.
pub fn forwarded(data: &[u8]) {
    crate::websocket::fuzz_forwarded(data);
}

/// Bytes that may be frames, as the stream of `websocket` and as soketto read them, and what each writes for
/// the other.
pub fn frames(data: &[u8]) {
    crate::websocket::fuzz_stream(data);
}

/// Bytes that may be a certificate, a private key or a trust anchor, in PEM or in DER.
pub fn pem(data: &[u8]) {
    crate::websocket::fuzz_pem(data);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

    use crate::deadline;

    /// Runs `target` on its corpus, and for ten seconds on input that a seed gives: half of it the corpus with changes.
    fn run(name: &str, longest: usize, target: fn(&[u8])) {
        let corpus = corpus(name);
        for input in &corpus {
            target(input);
        }
        let end = deadline::now() + Duration::from_secs(10);
        let mut seed = 0;
        while deadline::now() < end {
            // A failure is repeated by this seed alone, as long as the corpus is the same.
            let _seed = Seed(seed);
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut data = match corpus.choose(&mut rng) {
                Some(input) if rng.random() => changed(input, &corpus, &mut rng),
                _ => {
                    let mut data = vec![0; rng.random_range(0..longest)];
                    rng.fill(&mut data[..]);
                    data
                }
            };
            data.truncate(longest);
            target(&data);
            seed += 1;
        }
    }

    /// The corpus, always in the same order.
    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(name);
        let files = match fs::read_dir(directory) {
            Ok(files) => files,
            Err(error) => {
                eprintln!("SKIPPED: the corpus is not in the published package: {error}");
                return Vec::new();
            }
        };
        let mut files = files.map(|file| file.unwrap().path()).collect::<Vec<_>>();
        files.sort();
        files.iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// An input of the corpus with bytes overwritten, cut out, or put in from another.
    fn changed(input: &[u8], corpus: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
        let mut data = input.to_vec();
        for _ in 0..rng.random_range(1..5) {
            let from = rng.random_range(0..=data.len());
            let to = rng.random_range(from..=data.len().min(from + 40));
            let replacement = match rng.random_range(0..4) {
                0 => vec![],
                1 => vec![rng.random(); to - from],
                2 => (from..to).map(|_| rng.random()).collect(),
                _ => {
                    let other = corpus.choose(rng).unwrap();
                    let start = rng.random_range(0..=other.len());
                    let end = rng.random_range(start..=other.len().min(start + 100));
                    other[start..end].to_vec()
                }
            };
            data.splice(from..to, replacement);
        }
        data
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

    #[test]
    fn announcement() {
        run("announcement", 2000, super::announcement);
    }

    #[test]
    fn request() {
        run("request", 20_000, super::request);
    }

    #[test]
    fn hearing() {
        run("hearing", 20_000, super::hearing);
    }

    #[test]
    fn proxy() {
        run("proxy", 3000, super::proxy);
    }

    #[test]
    fn forwarded() {
        run("forwarded", 1000, super::forwarded);
    }

    #[test]
    fn frames() {
        run("frames", 2000, super::frames);
    }

    #[test]
    fn pem() {
        run("pem", 5000, super::pem);
    }

    #[test]
    fn response() {
        run("response", 20_000, super::response);
    }

    #[test]
    fn tunnel() {
        run("tunnel", 20_000, super::tunnel);
    }
}
