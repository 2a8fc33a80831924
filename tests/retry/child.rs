//! A test that runs itself once more, in a process with other rights.

use std::{
    env,
    process::{Command, Stdio},
};

/// What the child prints if it has done what it was started for.
const PASSED: &str = "the child has passed";
/// And if it could not, followed by what that needs.
const NEEDS: &str = "the child needs ";

pub(crate) struct Child(Command);

impl Child {
    /// A process that runs the ignored test of this name.
    pub(crate) fn new(test: &str) -> Self {
        let program = env::current_exe().expect("a test has a file");
        Self::running(Command::new(program), test)
    }

    /// The same as an ordinary user, also if this is run by root.
    pub(crate) fn of_an_ordinary_user(test: &str) -> Self {
        let child = Self::new(test);
        #[cfg(unix)]
        let child = {
            let mut child = child;
            if is_root() {
                let nobody = 65534;
                std::os::unix::process::CommandExt::uid(&mut child.0, nobody);
            }
            child
        };
        child
    }

    /// The same in a network namespace of its own.
    pub(crate) fn in_a_namespace(test: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net"]);
        command.arg(env::current_exe().expect("a test has a file"));
        Self::running(command, test)
    }

    fn running(mut command: Command, test: &str) -> Self {
        command.args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads",
            "1",
        ]);
        Self(command)
    }

    /// Fails as the child does, and says loudly if it could not run.
    pub(crate) fn run(mut self) {
        let output = match self.0.stdin(Stdio::null()).output() {
            Ok(output) => output,
            Err(error) => return eprintln!("SKIPPED: {:?} cannot be run: {error}", self.0),
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        if let Some(needs) = text.lines().find_map(|line| line.split_once(NEEDS)) {
            return eprintln!("SKIPPED: this needs {}", needs.1);
        }
        if !text.contains("running 1 test") {
            return eprintln!("SKIPPED: {:?} cannot be run here: {text}", self.0);
        }
        assert!(output.status.success() && text.contains(PASSED), "{text}");
    }
}

/// What a child has to say.
pub(crate) struct Outcome;

impl Outcome {
    pub(crate) fn passed() {
        println!("{PASSED}");
    }

    pub(crate) fn needs(what: &str) {
        println!("{NEEDS}{what}");
    }
}

#[cfg(unix)]
fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout == b"0\n")
}
