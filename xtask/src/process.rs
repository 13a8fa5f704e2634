//! Runs other programs.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The command in typed form.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Runs a command with its output on the terminal.
pub fn run(command: &mut Command) -> Result<(), String> {
    println!("    $ {}", shown(command));
    let status = command.status().map_err(|why| cannot_start(command, &why))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", shown(command))) }
}

/// Runs a command and returns its output, or its errors if it fails.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|why| cannot_start(command, &why))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{}` failed ({}): {}", shown(command), output.status, errors.trim()))
    }
}

/// Runs a command, and both shows and returns its standard output. The `bool` is `true` if it succeeded.
pub fn run_and_listen(command: &mut Command) -> Result<(bool, String), String> {
    let mut heard = String::new();
    let succeeded = run_and_hear(command, |line| {
        println!("{line}");
        heard.push_str(line);
        heard.push('\n');
    })?;
    Ok((succeeded, heard))
}

/// Runs a command and passes on each line of its standard output. The result is `true` if it succeeded.
pub fn run_and_hear(command: &mut Command, mut hear: impl FnMut(&str)) -> Result<bool, String> {
    println!("    $ {}", shown(command));
    command.stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|why| cannot_start(command, &why))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            hear(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait().map_err(|why| cannot_start(command, &why))?;
    Ok(status.success())
}

fn cannot_start(command: &Command, why: &std::io::Error) -> String {
    format!("cannot run `{}`: {why}", shown(command))
}
