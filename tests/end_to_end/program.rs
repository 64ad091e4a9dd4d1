//! The built program as people run it: a process of its own, in a folder and a home of its own, that
//! inherits nothing of this environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// How long anything may take to happen; a busy machine is slow.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often something is looked at that does not say when it changes.
const GLANCE: Duration = Duration::from_millis(5);

/// A folder to run the program in. It is the program's home too, and ends with this.
#[derive(Debug)]
pub(crate) struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder }
    }

    /// Where a file of this name is, or would be.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        let folder = path.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).expect("the folder is made");
        fs::write(&path, text).expect("it is written");
    }

    /// Reads a file, which must be there.
    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Reads a JSON file.
    #[track_caller]
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).expect("it is JSON")
    }

    /// The lines of a list that are no comments.
    #[track_caller]
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = self.read(name);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }

    /// The program with these arguments, which are parted by blanks.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consign"));
        command
            .args(arguments.split_whitespace())
            .env_clear()
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: &str) -> Ended {
        self.run_with(arguments, &[]).await
    }

    /// The same with more in its environment.
    pub(crate) async fn run_with(&self, arguments: &str, more: &[(&str, PathBuf)]) -> Ended {
        let more = more.iter().map(|(name, value)| (name, value));
        let output = self.command(arguments).envs(more).output().await;
        let output = output.expect("the program runs");
        Ended {
            arguments: arguments.to_owned(),
            status: output.status,
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command of it to its end, with something on its standard input.
    pub(crate) async fn run_command(
        &self,
        mut command: Command,
        arguments: &str,
        input: &str,
    ) -> Ended {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("it reads");
        // Who does not want it may not read it.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = child.wait_with_output().await.expect("the program runs");
        Ended {
            arguments: arguments.to_owned(),
            status: output.status,
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts the program. What it prints goes into files, so that nothing holds it up.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        self.start_with(arguments, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(&self, arguments: &str, more: &[(&str, PathBuf)]) -> Running {
        let file = |name: &str| fs::File::create(self.path(name)).expect("a file");
        let child = self
            .command(arguments)
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdout(file(STDOUT))
            .stderr(file(STDERR))
            .spawn()
            .expect("the program starts");
        Running {
            arguments: arguments.to_owned(),
            stdout: self.path(STDOUT),
            stderr: self.path(STDERR),
            child,
        }
    }
}

/// Sends a signal to a process that runs.
pub(crate) async fn signal(child: &Child, name: &str) {
    let process = child.id().expect("it runs");
    let command = format!("kill -s {name} {process}");
    let sent = Command::new("sh").arg("-c").arg(command).status().await;
    assert!(sent.expect("there is a shell").success(), "it was there");
}

const STDOUT: &str = ".stdout";
const STDERR: &str = ".stderr";

/// The program at work; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    arguments: String,
    stdout: PathBuf,
    stderr: PathBuf,
    child: Child,
}

impl Running {
    /// Sends a signal: `INT`, `TERM`, `KILL`.
    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Sends a signal, if it has not ended yet.
    pub(crate) async fn signal_if_there(&self, name: &str) {
        if let Some(process) = self.child.id() {
            let command = format!("kill -s {name} {process} 2> /dev/null || true");
            drop(Command::new("sh").arg("-c").arg(command).status().await);
        }
    }

    /// What it printed on stdout so far.
    pub(crate) fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it printed on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// Returns once it has ended; [`Running::end`] says how.
    pub(crate) async fn ends(&mut self) {
        self.child.wait().await.expect("it ends");
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Ended {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| {
            let at = self.child.id().map(whereabouts).unwrap_or_default();
            let said = read_lossy(&self.stderr);
            panic!("`{}` goes on:\n{at}\n{said}", self.arguments)
        });
        self.ended(status.expect("it ends"))
    }

    /// Waits for its end, and tells the most memory that it had resident, in bytes.
    pub(crate) async fn end_and_peak(mut self) -> (Ended, u64) {
        let process = self.child.id().expect("it runs");
        let mut glances = tokio::time::interval(GLANCE);
        let mut peak = 0;
        let status = loop {
            tokio::select! {
                status = self.child.wait() => break status.expect("it ends"),
                _ = glances.tick() => peak = peak_of(process).unwrap_or(peak),
            }
        };
        (self.ended(status), peak)
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        Ended {
            arguments: self.arguments.clone(),
            status,
            stdout: fs::read(&self.stdout).unwrap_or_default(),
            stderr: read_lossy(&self.stderr),
        }
    }
}

/// What each thread of a process waits for in the kernel.
fn whereabouts(process: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let told = tasks.into_iter().flatten().flatten().map(|task| {
        let word = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let (name, waits) = (word("comm"), word("wchan"));
        format!("{}: {waits}", name.trim_end())
    });
    told.collect::<Vec<_>>().join("\n")
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The kernel's own high-water mark; it only grows. A process that has ended has none.
fn peak_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    arguments: String,
    status: ExitStatus,
    /// The bytes on stdout.
    pub(crate) stdout: Vec<u8>,
    /// The text on stderr.
    pub(crate) stderr: String,
}

impl Ended {
    /// The exit code; nothing for a process that was killed.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Itself, where it ended with this exit code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        self
    }

    /// Itself, where stderr says all of this.
    #[track_caller]
    pub(crate) fn saying(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not said: {self}");
        }
        self
    }

    /// Itself, where it did not end well because of what a registry did or is.
    #[track_caller]
    pub(crate) fn failed(self) -> Self {
        assert!(matches!(self.code(), Some(1 | 4)), "{self}");
        self
    }

    /// Itself, where none of these stands in what it printed.
    #[track_caller]
    pub(crate) fn hiding(self, secrets: &[&str]) -> Self {
        let printed = format!("{}{}", self.text(), self.stderr);
        for secret in secrets {
            assert!(!printed.contains(secret), "`{secret}` is told: {self}");
        }
        self
    }

    /// What stands on stdout.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What stands on stdout, as one JSON document a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line);
        let lines: Result<_, _> = self.text().lines().map(parse).collect();
        lines.unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "`consign {}` ended with {}", self.arguments, self.status)?;
        writeln!(f, "stdout:\n{}", self.text())?;
        write!(f, "stderr:\n{}", self.stderr)
    }
}

/// Waits for something to happen, but not for ever: a trial that fails should not hang.
pub(crate) async fn patiently<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, happens).await;
    happened.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Looks again and again until there is an answer; `what` is what is waited for.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut glances = tokio::time::interval(GLANCE);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        glances.tick().await;
    }
}

/// A file with passwords in Docker's and podman's format: key, user, password.
pub(crate) fn auth_file(entries: &[(&str, &str, &str)]) -> String {
    let auths: serde_json::Map<String, Value> = entries
        .iter()
        .map(|(key, user, password)| {
            let auth = STANDARD.encode(format!("{user}:{password}"));
            ((*key).to_owned(), serde_json::json!({ "auth": auth }))
        })
        .collect();
    serde_json::json!({ "auths": auths }).to_string()
}

/// The outcomes in a report, in list order.
#[track_caller]
pub(crate) fn outcomes(report: &Value) -> Vec<String> {
    let lines = report["lines"].as_array().expect("a report has lines");
    let word = |line: &Value| line["outcome"].as_str().expect("a word").to_owned();
    lines.iter().map(word).collect()
}
