//! A browser that opens one page at a time and reports through the server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use local_server::Serving;
use serde_json::Value;

/// Flags that disable everything that a browser does without a page; and a debugging port, without which a headless
/// browser may end at once.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
];

/// See the module's documentation.
pub struct Browser {
    pub program: PathBuf,
    pub flags: Vec<String>,
    /// The folder for its profiles and its log.
    pub folder: PathBuf,
    /// The server of the pages, which also receives their figures.
    pub serving: Serving,
    pub results: Receiver<String>,
    pub timeout: Duration,
}

impl Browser {
    /// Opens a page as a new visitor, and waits for its figures. If the page fails, the figures reported so far are
    /// returned with the reason.
    pub fn figures(&self, page: &str) -> Result<(Value, Option<String>), String> {
        let profile = self.folder.join(format!("profile-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&profile);
        std::fs::create_dir_all(&profile).map_err(|why| format!("cannot make {}: {why}", profile.display()))?;
        let log = self.folder.join("browser.log");
        let log = File::create(&log).map_err(|why| format!("cannot write {}: {why}", log.display()))?;
        // Results of an earlier page are dropped.
        while self.results.try_recv().is_ok() {}
        println!("[bench] {page}");
        let mut command = leashed(&self.program);
        command.args(FLAGS).arg("--enable-unsafe-webgpu").arg(format!("--user-data-dir={}", profile.display()));
        command.args(&self.flags).arg(format!("{}{page}", self.serving.url()));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().map_err(|why| format!("cannot start {}: {why}", self.program.display()))?;
        let leash = child.stdin.take();
        let heard = self.listen(|| child.try_wait().ok().flatten().map(|status| status.to_string()));
        drop(leash);
        if !cfg!(unix) {
            let _ = child.kill();
        }
        let _ = child.wait();
        let _ = std::fs::remove_dir_all(&profile);
        Ok(heard)
    }

    fn listen(&self, mut ended: impl FnMut() -> Option<String>) -> (Value, Option<String>) {
        let began = Instant::now();
        let mut latest = Value::Null;
        loop {
            match self.results.recv_timeout(Duration::from_millis(500)) {
                Ok(text) => {
                    let told = serde_json::from_str::<Value>(&text).unwrap_or_default();
                    latest = told["figures"].clone();
                    if told["done"] == true {
                        return (latest, None);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return (latest, Some("the server ended".into())),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(status) = ended() {
                return (latest, Some(format!("the browser ended ({status}); see browser.log")));
            }
            if began.elapsed() > self.timeout {
                return (latest, Some(format!("it took longer than {} s (--timeout)", self.timeout.as_secs())));
            }
        }
    }
}

/// A command that ends with all its processes when its standard input closes, so that none is left when this program
/// ends in any way: a browser may be a script around another, and a leftover one would share the GPU with the next.
#[cfg(unix)]
fn leashed(program: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("sh");
    command.args(["-c", r#"("$@"; echo "ended with $?" >&2; kill -KILL 0) & read -r _; kill -KILL 0"#, "sh"]).arg(program).process_group(0);
    command
}

#[cfg(not(unix))]
fn leashed(program: &Path) -> Command {
    Command::new(program)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn browser_and_leash_end_with_each_other() {
        let spawn = |script: &str| {
            let mut command = leashed(Path::new("sh"));
            // As with a browser's wrapper, the working process is a child of the started one.
            command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut kept = spawn("sleep 600; true");
        assert_eq!(kept.try_wait().unwrap(), None);
        drop(kept.stdin.take());
        // The output ends only when no process holds it any more.
        std::io::copy(&mut kept.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
        assert!(!kept.wait().unwrap().success());

        let mut crashed = spawn("exit 3");
        let leash = crashed.stdin.take();
        assert!(!crashed.wait().unwrap().success());
        drop(leash);
    }
}
