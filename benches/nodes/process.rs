//! A process that is this very program, told by its arguments what to be. Each order is a line, and so is each answer.

use std::{
    env,
    error::Error,
    io::{self, BufRead as _, BufReader, Write as _},
    iter,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, Lines, Stdin},
    time::timeout,
};

/// After how long a run that hangs is ended.
const PATIENCE: Duration = Duration::from_secs(600);

/// The process, as the one that has started it sees it. It ends when this is dropped.
pub(crate) struct Process {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start<'a>(
        role: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(role).args(arguments);
        Self::start_command(command)
    }

    /// Another program, which takes orders and answers as well.
    pub(crate) fn start_command(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            child,
            orders,
            answers: BufReader::new(stdout),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ask(&mut self, order: &str) -> io::Result<String> {
        writeln!(self.orders, "{order}")?;
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err(io::Error::other("the process has ended")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    pub(crate) fn end(mut self) -> io::Result<()> {
        drop(self.orders);
        self.child.wait().map(drop)
    }
}

/// Those behind that of the role.
pub(crate) type Arguments = iter::Skip<env::Args>;

/// Plays a role in a runtime of one thread, if this process has that role.
pub(crate) fn play<F>(
    role: &str,
    run: impl FnOnce(Arguments) -> F,
) -> Option<Result<(), Box<dyn Error>>>
where
    F: Future<Output = Result<(), Box<dyn Error>>>,
{
    let at = env::args().position(|argument| argument == role)?;
    let play = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build()?;
        let run = run(env::args().skip(at + 1));
        runtime.block_on(async { timeout(PATIENCE, run).await? })
    };
    Some(play())
}

/// What this process is told.
pub(crate) fn orders() -> Lines<tokio::io::BufReader<Stdin>> {
    tokio::io::BufReader::new(tokio::io::stdin()).lines()
}
